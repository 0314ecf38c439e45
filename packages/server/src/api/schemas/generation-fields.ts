import { z } from 'zod'
import { only, optional, refused, text, tokenId } from './field.js'

const stop = z
  .union([text, z.array(text).max(16)], { error: 'it must be a text or a list of at most 16 texts, none of them empty' })
  .refine((value) => (typeof value === 'string' ? value !== '' : value.every((entry) => entry !== '')), { error: 'a stop string is empty' })
  .transform((value) => (typeof value === 'string' ? [value] : value))

const logitBias = z
  .record(z.string().regex(/^\d{1,9}$/, 'its names must be token ids'), z.number().min(-100).max(100))
  .refine((value) => Object.keys(value).length <= 1024, { error: 'at most 1024 tokens may have one' })

const responseFormat = z.discriminatedUnion(
  'type',
  [
    z.strictObject({ type: z.literal('text') }),
    z.strictObject({ type: z.literal('json_object') }),
    z.strictObject({
      type: z.literal('json_schema'),
      json_schema: z.strictObject({
        name: optional(z.string()),
        description: optional(z.string()),
        schema: z.record(z.string(), z.unknown()),
        strict: optional(z.boolean()),
      }),
    }),
  ],
  { error: 'the type must be text, json_object or json_schema' },
)

/** What decides the tokens, in completions and chats alike. */
export const samplingFields = {
  temperature: optional(z.number().min(0).max(2)),
  top_p: optional(z.number().gt(0).max(1)),
  top_k: optional(z.int().min(-1)).describe('Likeliest tokens that are kept; 0 or -1 for all.'),
  min_p: optional(z.number().min(0).max(1)),
  presence_penalty: optional(z.number().min(-2).max(2)),
  frequency_penalty: optional(z.number().min(-2).max(2)),
  repetition_penalty: optional(z.number().gt(0).max(10)),
  logit_bias: optional(logitBias).describe('Token ids to what is added to their logits, -100 to 100.'),
  seed: optional(
    z
      .int()
      .min(0)
      .max(2 ** 32 - 1),
  ).describe('Choice number i draws with seed + i.'),
  stop: optional(stop).describe('A text, or up to 16. The answer ends before the first of them.'),
  stop_token_ids: optional(z.array(tokenId).max(64)).describe('Token ids that end the text, besides those of the model.'),
  response_format: optional(responseFormat).describe(
    'json_schema and json_object constrain the text from its first token, strict or not; properties come in the order of the schema, on one line.',
  ),
  ignore_eos: optional(z.boolean()).describe('Goes on after the end tokens of the model; for measurements.'),
}

/** How the answer comes, and what has no effect. */
export const answerFields = {
  model: optional(z.string()),
  n: optional(z.int().min(1)),
  stream: optional(z.boolean()),
  stream_options: optional(
    z.strictObject({
      include_usage: optional(z.boolean()),
      include_obfuscation: only(false, 'padding of streams is not supported; leave it out or give false'),
    }),
  ),
  phsa: optional(
    z.strictObject({
      topK: optional(z.int().min(0)).describe('Chosen blocks for each query.'),
      dense: optional(z.boolean()).describe('Attention to all earlier tokens.'),
    }),
  ).describe('How the request attends; without it as the server is set up.'),
}

/** Taken and without effect. */
export const idleFields = {
  user: optional(z.string()),
  metadata: optional(z.record(z.string(), z.string())),
  safety_identifier: optional(z.string()),
  prompt_cache_key: optional(z.string()),
  store: only(false, 'nothing is stored here; leave it out or give false'),
  service_tier: optional(z.enum(['auto', 'default'])),
}

/** Fields of vLLM's that would change the text. */
export const refusedFields = {
  min_tokens: refused('a least number of tokens is not supported'),
  guided_json: refused('it is vLLM’s own; give response_format'),
  guided_regex: refused('texts are constrained by a JSON schema alone; give response_format'),
  guided_choice: refused('texts are constrained by a JSON schema alone; give response_format'),
  structured_outputs: refused('it is vLLM’s own; give response_format'),
  use_beam_search: refused('beam search is not supported'),
}
