import { InvalidConfigError } from '@phsa/core'
import type { AttentionChoice, DecoderModel, TrainingBatch } from '@phsa/model'
import { lossesPast, scoredTokens } from './evaluation/scored-tokens.js'
import { nextTurn } from './next-turn.js'
import { requireInteger } from './number-settings.js'

/** Held-out text that is measured while training, and how often. */
export interface ValidationOptions {
  /** See `heldOutBatches`. */
  readonly batches: readonly TrainingBatch[]
  /** Steps between two; the last step is always measured. Default 100. */
  readonly every?: number
}

/** What the held-out text gave; its parameters are those after the step, its attention that of the step. */
export interface ValidationResult {
  /** Mean negative log-likelihood of all predicted tokens, natural logarithm. */
  readonly loss: number
  /** exp(loss). */
  readonly perplexity: number
}

/** Loss on held-out text, without gradients: the run is the same with and without it. */
export async function validate(
  model: DecoderModel,
  batches: readonly TrainingBatch[],
  attention: AttentionChoice,
): Promise<ValidationResult> {
  let sum = 0
  let tokens = 0
  for (const batch of batches) {
    await nextTurn()
    for (const loss of await lossesPast(model, batch, attention, 0)) {
      sum += loss
      tokens++
    }
  }
  return { loss: sum / tokens, perplexity: Math.exp(sum / tokens) }
}

/**
 * Checks, before the first step, what would otherwise stop a run at its first validation.
 * @throws InvalidConfigError naming the setting
 */
export function requireValidation({ batches, every = 100 }: ValidationOptions, { config }: DecoderModel): Required<ValidationOptions> {
  requireInteger('validation.every', every, 1)
  if (!batches.some((batch) => scoredTokens(batch, 0).length > 0)) {
    throw new InvalidConfigError(
      'validation.batches',
      'no token of validation.batches is predicted; give at least one batch of held-out text.',
    )
  }
  for (const [index, { ids, lengths }] of batches.entries()) {
    const longest = Math.max(...lengths)
    if (longest > config.maxPositions) {
      throw new InvalidConfigError(
        'validation.batches',
        `batch ${index} has a sequence of ${longest} tokens; this model takes at most ${config.maxPositions}. Give shorter windows.`,
      )
    }
    const stranger = ids.find((id) => id < 0 || id >= config.vocabSize)
    if (stranger !== undefined) {
      throw new InvalidConfigError(
        'validation.batches',
        `batch ${index} has the id ${stranger}; this model takes 0 to ${config.vocabSize - 1}. Tokenize with the model's own tokenizer.`,
      )
    }
  }
  return { batches, every }
}
