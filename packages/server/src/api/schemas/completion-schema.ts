import { z } from 'zod'
import { optional, prompts, refused } from './field.js'
import { answerFields, idleFields, refusedFields, samplingFields } from './generation-fields.js'

/** Body of POST /v1/completions. */
export const completionSchema = z.strictObject({
  prompt: prompts,
  max_tokens: optional(z.int().min(0)).describe('Default 16. 0 only with echo: the prompt alone.'),
  best_of: optional(z.int().min(1)).describe('Makes so many and gives the n of the highest mean log-probability; not in streams.'),
  echo: optional(z.boolean()),
  logprobs: optional(z.int().min(0)).describe('How many of the likeliest tokens are told beside each token.'),
  suffix: refused('text between a prompt and a suffix is not supported'),
  ...samplingFields,
  ...answerFields,
  ...idleFields,
  ...refusedFields,
})

export type CompletionBody = z.output<typeof completionSchema>
