import { readFileSync } from 'node:fs'
import { PHSA_4K } from '@phsa/core'
import { expect, test } from 'vitest'
import { decoderConfigJson, parseDecoderConfig } from '../src/index.js'

const fixture = JSON.parse(readFileSync(new URL('../../../fixtures/models/qwen3-tiny/config.json', import.meta.url), 'utf8'))

test('config.json as transformers 5 writes it', () => {
  expect(parseDecoderConfig(fixture)).toEqual({
    vocabSize: 512,
    hiddenSize: 64,
    intermediateSize: 160,
    layers: 3,
    heads: 4,
    kvHeads: 2,
    headDim: 32,
    rmsNormEpsilon: 1e-6,
    ropeTheta: 1_000_000,
    maxPositions: 1024,
    tieWordEmbeddings: true,
    eosTokenIds: [],
    otherEntries: { max_window_layers: 28, pad_token_id: null, transformers_version: '5.17.0' },
  })
})

test('what the file of a model says, a saved one says again: transformers 5, and Qwen3 as transformers 4 wrote it', () => {
  expect(decoderConfigJson(parseDecoderConfig(fixture), PHSA_4K)).toMatchObject(fixture)
  const qwen = {
    architectures: ['Qwen3ForCausalLM'],
    attention_bias: false,
    attention_dropout: 0.1,
    bos_token_id: 151643,
    eos_token_id: 151645,
    head_dim: 128,
    hidden_act: 'silu',
    hidden_size: 1024,
    initializer_range: 0.03,
    intermediate_size: 3072,
    max_position_embeddings: 40960,
    max_window_layers: 28,
    model_type: 'qwen3',
    num_attention_heads: 16,
    num_hidden_layers: 28,
    num_key_value_heads: 8,
    rms_norm_eps: 1e-6,
    rope_theta: 1000000,
    sliding_window: null,
    tie_word_embeddings: true,
    torch_dtype: 'bfloat16',
    transformers_version: '4.51.0',
    use_cache: true,
    use_sliding_window: false,
    vocab_size: 151936,
  }
  expect(decoderConfigJson(parseDecoderConfig({ ...qwen, rope_scaling: null }), PHSA_4K, 'bf16')).toMatchObject(qwen)
})

test('config.json as transformers 4 writes it', () => {
  const { rope_parameters: _, ...rest } = fixture
  const json = { ...rest, rope_theta: 500, rope_scaling: null, eos_token_id: [7, 9], tie_word_embeddings: false }
  expect(parseDecoderConfig(json)).toMatchObject({ ropeTheta: 500, eosTokenIds: [7, 9], tieWordEmbeddings: false })
})

test('what is written is read again, and says so in the words of transformers', () => {
  const config = { ...parseDecoderConfig(fixture), eosTokenIds: [3] }
  const json = decoderConfigJson(config, PHSA_4K, 'bf16')
  expect(parseDecoderConfig(json)).toEqual(config)
  expect(decoderConfigJson(parseDecoderConfig(json), PHSA_4K, 'bf16')).toEqual(json)
  expect(json).toMatchObject({ model_type: 'qwen3', dtype: 'bfloat16', eos_token_id: 3, phsa: PHSA_4K })
})

test.each([
  [{ model_type: 'llama' }, /model_type is "llama"; allowed: "qwen3"/],
  [{ attention_bias: true }, /attention_bias is true; allowed: false/],
  [{ use_sliding_window: true }, /use_sliding_window is true.*localTokens/],
  [{ layer_types: ['full_attention', 'sliding_attention', 'full_attention'] }, /layer_types has "sliding_attention"/],
  [{ layer_types: ['full_attention'] }, /layer_types is \["full_attention"\]; it must have one entry for each of the 3 layers/],
  [{ layer_types: 'full_attention' }, /layer_types is "full_attention"/],
  [
    { architectures: ['Qwen3ForSequenceClassification'] },
    /architectures is \["Qwen3ForSequenceClassification"\]; it must hold "Qwen3ForCausalLM"/,
  ],
  [{ architectures: 'Qwen3ForCausalLM' }, /architectures is "Qwen3ForCausalLM"; it must hold/],
  [{ model_type: undefined }, /model_type is missing; allowed: "qwen3"/],
  [{ tie_word_embeddings: 'yes' }, /tie_word_embeddings is "yes"; it must be true or false/],
  [{ hidden_size: 1e12 }, /hidden_size is 1000000000000; it must be an integer from 1 to 1073741824/],
  [{ num_hidden_layers: -1 }, /num_hidden_layers is -1/],
  [{ num_attention_heads: '4' }, /num_attention_heads is "4"/],
  [{ max_position_embeddings: Number.POSITIVE_INFINITY }, /max_position_embeddings is Infinity/],
  [{ rms_norm_eps: Number.NaN }, /rms_norm_eps is NaN/],
  [{ eos_token_id: [1, 2 ** 60] }, /eos_token_id is \[1,1152921504606847000\]/],
  [{ hidden_act: 'gelu' }, /hidden_act is "gelu"; allowed: "silu"/],
  [{ quantization_config: { bits: 4 } }, /quantization_config .*Quantized/],
  [{ num_key_value_heads: 3 }, /num_attention_heads is 4; it must be a multiple of num_key_value_heads, which is 3/],
  [{ head_dim: 31 }, /head_dim is 31; .* even/],
  [{ head_dim: undefined }, /head_dim is missing/],
  [{ vocab_size: 1.5 }, /vocab_size is 1.5; .* integer/],
  [{ rms_norm_eps: 0 }, /rms_norm_eps is 0; .* positive/],
  [{ eos_token_id: 'end' }, /eos_token_id is "end"/],
])('%j is refused with its reason', (change, message) => {
  expect(() => parseDecoderConfig({ ...fixture, ...change })).toThrow(message)
})

test('a value of any depth is named, not followed', () => {
  const deep = JSON.parse('['.repeat(1e5) + ']'.repeat(1e5))
  for (const name of [
    'model_type',
    'hidden_act',
    'vocab_size',
    'eos_token_id',
    'layer_types',
    'architectures',
    'quantization_config',
    'rope_scaling',
  ]) {
    expect(() => parseDecoderConfig({ ...fixture, [name]: deep })).toThrow(`${name} is [[[[…]]]]`)
  }
})

test('a list is no configuration', () => {
  expect(() => parseDecoderConfig([])).toThrow(/one JSON object/)
})
