import type { ChoiceUsage } from './choice-events.js'

/** Tokens of a request as answers tell them: OpenAI's fields, and what PHSA saved. */
export interface Usage {
  /** Each prompt once, however many choices were made of it. */
  readonly prompt_tokens: number
  readonly completion_tokens: number
  readonly total_tokens: number
  readonly prompt_tokens_details: { readonly cached_tokens: number }
  /** Keys that queries attended to and would have attended to densely (spec 5). */
  readonly phsa: { readonly activated_tokens: number; readonly visible_tokens: number; readonly sparsity: number }
}

/** @param choices those of one prompt together, `perPrompt` each */
export function usageOf(choices: readonly Required<ChoiceUsage>[], perPrompt: number): Usage {
  const sum = (values: readonly Required<ChoiceUsage>[], of: (usage: Required<ChoiceUsage>) => number) =>
    values.reduce((total, usage) => total + of(usage), 0)
  const firsts = choices.filter((_, index) => index % perPrompt === 0)
  const prompt = sum(firsts, (usage) => usage.promptTokens)
  const completion = sum(choices, (usage) => usage.completionTokens)
  const activated = sum(choices, (usage) => usage.activatedTokens)
  const visible = sum(choices, (usage) => usage.visibleTokens)
  return {
    prompt_tokens: prompt,
    completion_tokens: completion,
    total_tokens: prompt + completion,
    prompt_tokens_details: { cached_tokens: sum(firsts, (usage) => usage.cachedTokens) },
    phsa: { activated_tokens: activated, visible_tokens: visible, sparsity: visible === 0 ? 0 : 1 - activated / visible },
  }
}
