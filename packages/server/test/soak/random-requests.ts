import type { RandomStream } from '@phsa/core'

/** A body for /v1/completions that is answered the same each time. */
export type CompletionRequest = Readonly<Record<string, unknown>> & { readonly prompt: string }

const OPENINGS = ['It is a truth universally acknowledged, that ', 'Call me Ishmael. ', 'Ça va, 你好! 👩‍👩‍👧 ', '']

/** Distinct requests: some share the beginning of their prompts, and they differ in every dial. */
export function randomRequests(random: RandomStream, count: number): CompletionRequest[] {
  return Array.from({ length: count }, (_, index) => {
    const opening = OPENINGS[random.below(OPENINGS.length)]
    const more = Array.from({ length: random.below(60) }, () => String.fromCharCode(97 + random.below(26))).join('')
    return {
      prompt: `${opening}${index % 3 === 0 ? 'and so they went on and on. ' : ''}${more}${index}`,
      max_tokens: 1 + random.below(24),
      temperature: random.below(3) === 0 ? 0 : 0.2 + random.uniform(),
      seed: index,
      ...(random.below(3) === 0 && { top_p: 0.9 }),
      ...(random.below(4) === 0 && { logprobs: 1 }),
      ...(random.below(4) === 0 && { stop: ['e', 'zz'] }),
      ...(random.below(4) === 0 && { presence_penalty: 0.5, repetition_penalty: 1.2 }),
      ...(random.below(3) === 0 && { phsa: random.below(2) === 0 ? { dense: true } : { topK: random.below(5) } }),
    }
  })
}
