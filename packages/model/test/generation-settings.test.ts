import { expect, test } from 'vitest'
import { type GenerateOptions, type GenerationSettings, generate, generationSettingsJson, parseGenerationSettings } from '../src/index.js'
import { testedBackends } from './backends.js'
import { randomIds, tinyModel } from './tiny-model.js'

/** Qwen3's file. */
const qwen = {
  bos_token_id: 151643,
  do_sample: true,
  eos_token_id: [151645, 151643],
  pad_token_id: 151643,
  temperature: 0.6,
  top_k: 20,
  top_p: 0.95,
  transformers_version: '4.51.0',
}

test.each<[string, unknown, GenerationSettings]>([
  ['Qwen3', qwen, { stopTokenIds: [151645, 151643], sampling: { temperature: 0.6, topK: 20, topP: 0.95, minP: 0, repetitionPenalty: 1 } }],
  ['an empty one', {}, {}],
  ['one made from the configuration', { _from_model_config: true, eos_token_id: null, use_cache: true }, {}],
  ['greedy, whatever it says of sampling', { do_sample: false, temperature: 0.6, top_p: 0.9 }, {}],
  ['greedy with a penalty', { repetition_penalty: 1.1 }, { sampling: { temperature: 0, repetitionPenalty: 1.1 } }],
  [
    'sampling with nothing else: 50 tokens, as in transformers',
    { do_sample: true },
    { sampling: { temperature: 1, topK: 50, topP: 1, minP: 0, repetitionPenalty: 1 } },
  ],
  [
    'lengths and stops',
    { max_new_tokens: 7, stop_strings: ['a', 'b'], eos_token_id: 0 },
    { maxNewTokens: 7, stop: ['a', 'b'], stopTokenIds: [0] },
  ],
  ['one stop', { stop_strings: 'a' }, { stop: ['a'] }],
  [
    'what is not followed',
    { num_beams: 4, no_repeat_ngram_size: 3, typical_p: 1, length_penalty: 2, suppress_tokens: [1], guidance_scale: null },
    { unsupported: ['no_repeat_ngram_size', 'num_beams', 'suppress_tokens'] },
  ],
])('%s', (_, json, expected) => {
  expect(parseGenerationSettings(json)).toEqual(expected)
})

test.each<[unknown, RegExp]>([
  [[], /must hold one JSON object/],
  [null, /must hold one JSON object/],
  [{ temperature: '0.6' }, /temperature is "0.6"; it must be a number of at least 0/],
  [{ temperature: -1 }, /temperature is -1/],
  [JSON.parse('{"temperature":1e999}'), /temperature is Infinity/],
  [{ top_k: 1.5 }, /top_k is 1.5; it must be an integer of at least 0/],
  [{ top_k: -1 }, /top_k is -1/],
  [{ top_p: 0 }, /top_p is 0; it must be a positive number/],
  [{ top_p: 1.1 }, /top_p is 1.1; it must be at most 1/],
  [{ min_p: -0.1 }, /min_p is -0.1/],
  [{ min_p: 2 }, /min_p is 2/],
  [{ repetition_penalty: 0 }, /repetition_penalty is 0/],
  [{ do_sample: 'yes' }, /do_sample is "yes"/],
  [{ max_new_tokens: 0 }, /max_new_tokens is 0/],
  [{ max_new_tokens: 1e12 }, /max_new_tokens is 1000000000000/],
  [{ eos_token_id: '</s>' }, /eos_token_id is "<\/s>"/],
  [{ stop_strings: [''] }, /stop_strings is \[""\]/],
  [{ stop_strings: 7 }, /stop_strings is 7/],
])('%j is refused by its name', (json, message) => {
  expect(() => parseGenerationSettings(json)).toThrow(message)
})

test('what is written is read again', () => {
  for (const json of [
    qwen,
    { do_sample: true, top_k: 0, min_p: 0.1 },
    { repetition_penalty: 1.2, eos_token_id: 3 },
    { max_new_tokens: 9, stop_strings: ['x'] },
  ]) {
    const settings = parseGenerationSettings(json)
    expect(parseGenerationSettings(generationSettingsJson(settings, []))).toEqual(settings)
  }
  expect(generationSettingsJson({}, [5])).toEqual({ eos_token_id: 5, do_sample: false })
  expect(generationSettingsJson({ stopTokenIds: [6, 7] }, [5])).toMatchObject({ eos_token_id: [6, 7] })
})

test('generate takes them where they are passed, and one that is passed after them counts instead', async () => {
  const backend = await testedBackends[0].create()
  const model = await tinyModel(backend)
  const collect = async (options: GenerateOptions) => {
    const ids: number[] = []
    for await (const id of generate(model, randomIds(20, 3), options)) ids.push(id)
    return ids
  }
  const settings = parseGenerationSettings({ do_sample: true, temperature: 5, max_new_tokens: 8, top_k: 0 })
  const drawn = await collect({ maxNewTokens: 3, ...settings })
  expect(drawn).toHaveLength(8)
  expect(drawn).toEqual(await collect({ maxNewTokens: 8, sampling: { temperature: 5 } }))
  expect(drawn).not.toEqual(await collect({ maxNewTokens: 8 }))
  expect(await collect({ maxNewTokens: 3, ...settings, stopTokenIds: [drawn[2]] })).toEqual(drawn.slice(0, 2))
  backend.dispose()
})
