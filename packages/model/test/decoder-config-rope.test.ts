import { PHSA_4K, ReferenceBackend } from '@phsa/core'
import { expect, test } from 'vitest'
import { DecoderModel, decoderConfigJson, parseDecoderConfig, type RopeScaling } from '../src/index.js'
import { ropeAngles } from '../src/rope-tables.js'
import { tinyConfig } from './tiny-model.js'

const { rope_parameters: _, ...bare } = decoderConfigJson({ ...tinyConfig, maxPositions: 40960 }, PHSA_4K)
const parse = (change: Record<string, unknown>) => parseDecoderConfig({ ...bare, ...change })
const yarn = { rope_type: 'yarn', factor: 4, original_max_position_embeddings: 32768 }
const parsedYarn = { type: 'yarn', factor: 4, originalMaxPositions: 32768 }

test.each([
  ['as Qwen3 documents it', { rope_scaling: yarn }],
  ['with the old key', { rope_scaling: { ...yarn, rope_type: undefined, type: 'yarn' } }],
  ['with both keys', { rope_scaling: { ...yarn, type: 'yarn' } }],
  ['in rope_parameters', { rope_parameters: { ...yarn, rope_theta: 10_000 }, rope_theta: undefined }],
  [
    'in rope_scaling, over the default of rope_parameters',
    { rope_scaling: yarn, rope_parameters: { rope_type: 'default', rope_theta: 10_000 } },
  ],
  ['with nulls for what is not told', { rope_scaling: { ...yarn, beta_fast: null, attention_factor: null, truncate: null } }],
])('YaRN %s; it leaves the longest sequence alone', (_case, change) => {
  const config = parse(change)
  expect(config.ropeScaling).toEqual(parsedYarn)
  expect(config).toMatchObject({ ropeTheta: 10_000, maxPositions: 40960 })
})

test('YaRN that does not say its original length stretches max_position_embeddings', () => {
  expect(parse({ rope_scaling: { type: 'yarn', factor: 2 } }).ropeScaling).toMatchObject({ factor: 2, originalMaxPositions: 40960 })
})

test('an original length beside the section comes first, as in transformers', () => {
  const { ropeScaling } = parse({ rope_scaling: yarn, original_max_position_embeddings: 8192 })
  expect(ropeScaling).toMatchObject({ originalMaxPositions: 8192 })
})

test('the base comes from the section in use, then from the file', () => {
  const parameters = { rope_type: 'default', rope_theta: 300 }
  expect(parse({ rope_parameters: parameters, rope_theta: 200 }).ropeTheta).toBe(300)
  expect(parse({ rope_scaling: yarn, rope_parameters: parameters, rope_theta: 200 }).ropeTheta).toBe(200)
  expect(parse({ rope_scaling: { ...yarn, rope_theta: 100 }, rope_parameters: parameters, rope_theta: 200 }).ropeTheta).toBe(100)
  expect(parse({ rope_scaling: yarn, rope_parameters: parameters, rope_theta: undefined }).ropeTheta).toBe(300)
})

test.each([
  { rope_scaling: null },
  { rope_scaling: {} },
  { rope_scaling: { type: 'default' } },
  { rope_parameters: { rope_theta: 10_000 }, rope_theta: undefined },
])('%j is no scaling', (change) => {
  expect(parse(change).ropeScaling).toBeUndefined()
})

const written: RopeScaling[] = [
  { type: 'linear', factor: 2.5 },
  { type: 'yarn', factor: 4, originalMaxPositions: 32768 },
  {
    type: 'yarn',
    factor: 8,
    originalMaxPositions: 2048,
    betaFast: 16,
    betaSlow: 2,
    truncate: false,
    attentionFactor: 1.5,
    mscale: 0.7,
    mscaleAllDim: 0,
  },
]

test.each(written)('$type is written for transformers 4 and 5, and read again', (ropeScaling) => {
  const config = { ...tinyConfig, ropeScaling }
  const json = JSON.parse(JSON.stringify(decoderConfigJson(config, PHSA_4K)))
  expect(parseDecoderConfig(json)).toEqual(config)
  expect(json.rope_parameters).toEqual({ ...json.rope_scaling, rope_theta: 10_000 })
  const { rope_scaling: _four, ...five } = json
  const { rope_parameters: _five, ...four } = json
  expect(parseDecoderConfig(five)).toEqual(config)
  expect(parseDecoderConfig(four)).toEqual(config)
})

test('without scaling config.json says default, in rope_parameters only', () => {
  const json = decoderConfigJson(tinyConfig, PHSA_4K)
  expect(json.rope_parameters).toEqual({ rope_theta: 10_000, rope_type: 'default' })
  expect(json).not.toHaveProperty('rope_scaling')
})

test.each([
  [{ rope_type: 'dynamic', factor: 2 }, /rope_scaling.rope_type is "dynamic"; allowed: "default", "linear", "yarn"/],
  [{ type: 'longrope', factor: 2 }, /rope_scaling.type is "longrope"; allowed/],
  [{ rope_type: 'llama3', factor: 2 }, /rope_scaling.rope_type is "llama3"; allowed/],
  [{ factor: 2 }, /rope_scaling.rope_type is missing; allowed/],
  [{ rope_type: 'yarn', type: 'linear' }, /rope_scaling.rope_type is "yarn" and rope_scaling.type is "linear"/],
  [{ rope_type: 'default', partial_rotary_factor: 0.5 }, /rope_scaling.partial_rotary_factor is 0.5; allowed: 1/],
  [{ rope_type: 'linear' }, /rope_scaling.factor is missing; .* at least 1/],
  [{ rope_type: 'linear', factor: 0.5 }, /rope_scaling.factor is 0.5; .* at least 1/],
  [{ rope_type: 'linear', factor: Infinity }, /rope_scaling.factor is Infinity; .* at least 1/],
  [{ ...yarn, factor: '4' }, /rope_scaling.factor is "4"; .* at least 1/],
  [{ ...yarn, original_max_position_embeddings: 0 }, /rope_scaling.original_max_position_embeddings is 0; .* integer from 1/],
  [{ ...yarn, beta_fast: 0 }, /rope_scaling.beta_fast is 0; .* positive/],
  [{ ...yarn, beta_slow: -1 }, /rope_scaling.beta_slow is -1; .* positive/],
  [{ ...yarn, beta_slow: 33 }, /rope_scaling.beta_fast is 32; it must be at least beta_slow, which is 33/],
  [{ ...yarn, attention_factor: Infinity }, /rope_scaling.attention_factor is Infinity; .* positive/],
  [{ ...yarn, mscale: -1 }, /rope_scaling.mscale is -1; .* at least 0/],
  [{ ...yarn, mscale_all_dim: [] }, /rope_scaling.mscale_all_dim is \[\]; .* at least 0/],
  [{ ...yarn, truncate: 1 }, /rope_scaling.truncate is 1; allowed: true, false/],
  [{ ...yarn, rope_theta: 1 }, /rope_theta is 1; with "yarn" it must be above 1/],
  ['yarn', /rope_scaling is "yarn"; it must be an object or null/],
])('rope_scaling %j is refused with its reason', (rope_scaling, message) => {
  expect(() => parse({ rope_scaling })).toThrow(
    expect.objectContaining({ code: 'invalid-config', message: expect.stringMatching(message) }),
  )
})

test('the section at fault is named', () => {
  expect(() => parse({ partial_rotary_factor: 0.5 })).toThrow(/^partial_rotary_factor is 0.5; allowed: 1/)
  expect(() => parse({ rope_parameters: { rope_type: 'linear', rope_theta: 1 } })).toThrow(/rope_parameters.factor is missing/)
})

test('a scaling put together by hand is checked like one of a file', () => {
  const backend = new ReferenceBackend()
  const config = { ...tinyConfig, ropeScaling: { type: 'linear', factor: 0 } } as const
  expect(() => DecoderModel.create({ config, backend, phsa: PHSA_4K, seed: 1 })).toThrow(/rope_scaling.factor is 0/)
})

test('the tables of a model are of its scaling, the first and those for more positions', async () => {
  const config = { ...tinyConfig, maxPositions: 5000, ropeScaling: written[1] }
  const backend = new ReferenceBackend()
  const model = DecoderModel.create({ config, backend, phsa: PHSA_4K, seed: 1 })
  const { cos, sin } = ropeAngles(5000, config)
  const longest = model.ropeFor(5000)
  expect(await backend.memory.download(longest.sin)).toEqual(sin)
  expect(await backend.memory.download(model.ropeFor(1).cos)).toEqual(cos.subarray(0, 4096 * 4))
  model.reservePositions(5000)
  expect(await backend.memory.download(model.ropeFor(1).cos)).toEqual(cos)
})
