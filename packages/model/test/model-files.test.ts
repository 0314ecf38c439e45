import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import {
  decodeBfloat16,
  encodeBfloat16,
  type ModelBackend,
  PHSA_4K,
  parseSafetensors,
  type SafetensorsTensor,
  serializeSafetensors,
} from '@phsa/core'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { type DecoderModel, describeModel, folderFiles, loadModel, saveModel } from '../src/index.js'
import { testedBackends } from './backends.js'
import { tinyConfig, tinyModel } from './tiny-model.js'

const fixtures = fileURLToPath(new URL('../../../fixtures', import.meta.url))
const qwen = join(fixtures, 'models/qwen3-tiny')

let root: string
let backend: ModelBackend
beforeEach(async () => {
  root = mkdtempSync(join(tmpdir(), 'phsa-model-'))
  backend = await testedBackends[0].create()
})
afterEach(() => {
  backend.dispose()
  rmSync(root, { recursive: true })
})

async function weightsOf(model: DecoderModel): Promise<Map<string, Float32Array>> {
  const weights = new Map<string, Float32Array>()
  for (const [name, tensor] of model.parameters) weights.set(name, (await backend.memory.download(tensor)) as Float32Array)
  return weights
}

test('save and load keeps every bit in f32, the configuration and the PHSA parameters', async () => {
  const config = { ...tinyConfig, tieWordEmbeddings: false, eosTokenIds: [3, 4] }
  const model = await tinyModel(backend, { config, phsa: { ...PHSA_4K, topK: 5, denseLayers: [0] } })
  const folder = join(root, 'new/model')
  await saveModel(model, folder)
  expect(readdirSync(folder).sort()).toEqual(['config.json', 'model.safetensors'])
  expect(readdirSync(join(root, 'new'))).toEqual(['model'])

  const { model: loaded, tokenizer, punctuation } = await loadModel(folder, { backend })
  expect([tokenizer, punctuation]).toEqual([undefined, undefined])
  expect(loaded.config).toEqual(config)
  expect(loaded.phsa).toEqual(model.phsa)
  expect(loaded.parameterCount).toBe(model.parameterCount)
  expect(await weightsOf(loaded)).toEqual(await weightsOf(model))

  const { model: other } = await loadModel(folder, { backend, phsa: { topK: 9 } })
  expect(other.phsa).toEqual({ ...model.phsa, topK: 9 })
  expect(await describeModel(folder, { phsa: { topK: 9 } })).toMatchObject({ config, phsa: other.phsa, tokenizer: undefined })
})

test('a description needs no backend, and checks names and shapes', async () => {
  const folder = join(root, 'described')
  cpSync(qwen, folder, { recursive: true })
  expect((await describeModel(folder)).config.hiddenSize).toBe(64)
  editConfig(folder, { vocab_size: 100 })
  await expect(describeModel(folder)).rejects.toThrow(/embed_tokens.weight is \[512,64\]; config.json makes it \[100,64\]/)
})

test('a bf16 file holds the weights rounded to nearest even, and a bf16 model is written as it is', async () => {
  const model = await tinyModel(backend)
  await saveModel(model, join(root, 'wide'), { type: 'bf16' })
  const { model: loaded } = await loadModel(join(root, 'wide'), { backend, dtype: 'bf16' })
  const expected = [...(await weightsOf(model)).values()].map((values) => decodeBfloat16(encodeBfloat16(values)))
  expect([...(await weightsOf(loaded)).values()]).toEqual(expected)

  await saveModel(loaded, join(root, 'narrow'))
  expect(readFileSync(join(root, 'narrow/model.safetensors'))).toEqual(readFileSync(join(root, 'wide/model.safetensors')))
  expect(JSON.parse(readFileSync(join(root, 'narrow/config.json'), 'utf8')).dtype).toBe('bfloat16')
})

test('transformers files: f16 weights, a copy of a tied head, end tokens of generation_config.json', async () => {
  const tensors = readTensors(qwen)
  const name = 'model.norm.weight'
  tensors.set('lm_head.weight', tensors.get('model.embed_tokens.weight')!)
  const folder = join(root, 'model')
  writeModel(folder, tensors)
  // 1.5, -2 and 2^-24 in f16.
  const bytes = rewriteType(
    join(folder, 'model.safetensors'),
    name,
    'F16',
    Uint16Array.from({ length: 64 }, (_, i) => [0x3e00, 0xc000, 1][i % 3]),
  )
  writeFileSync(join(folder, 'model.safetensors'), bytes)
  writeFileSync(join(folder, 'generation_config.json'), JSON.stringify({ eos_token_id: [7, 8] }))
  const { model } = await loadModel(folder, { backend })
  expect([...(await weightsOf(model)).get(name)!.slice(0, 3)]).toEqual([1.5, -2, 2 ** -24])
  expect(model.config.eosTokenIds).toEqual([7, 8])
  expect(model.parameters.has('lm_head.weight')).toBe(false)
})

test('shards that an index names', async () => {
  const folder = join(root, 'model')
  const tensors = [...readTensors(qwen)]
  writeModel(folder, new Map(tensors.slice(0, 10)), 'model-00001-of-00002.safetensors')
  writeModel(folder, new Map(tensors.slice(10)), 'model-00002-of-00002.safetensors')
  const weight_map = Object.fromEntries(tensors.map(([name], index) => [name, `model-0000${index < 10 ? 1 : 2}-of-00002.safetensors`]))
  writeFileSync(join(folder, 'model.safetensors.index.json'), JSON.stringify({ weight_map }))
  const { model } = await loadModel(folder, { backend })
  const { model: whole } = await loadModel(qwen, { backend })
  expect(await weightsOf(model)).toEqual(await weightsOf(whole))

  rmSync(join(folder, 'model-00002-of-00002.safetensors'))
  await expect(loadModel(folder, { backend })).rejects.toThrow(/model-00002-of-00002.safetensors: it is missing/)
  writeFileSync(join(folder, 'model.safetensors.index.json'), JSON.stringify({ weight_map: { a: '../outside' } }))
  await expect(loadModel(folder, { backend })).rejects.toThrow(
    /index.json: weight_map has "..\/outside" for tensor a; it must map each tensor to the name of a .safetensors file/,
  )
})

test('the tokenizer travels with the model; files that are there already stay', async () => {
  const model = await tinyModel(backend, { config: { ...tinyConfig, vocabSize: 8200, layers: 1 } })
  const folder = join(root, 'model')
  mkdirSync(folder)
  writeFileSync(join(folder, 'optimizer.bin'), 'state')
  writeFileSync(join(folder, 'config.json'), 'old')
  await saveModel(model, folder, { tokenizerFrom: join(fixtures, 'tokenizer-8k') })
  expect(readdirSync(folder).sort()).toEqual([
    'config.json',
    'model.safetensors',
    'optimizer.bin',
    'tokenizer.json',
    'tokenizer_config.json',
  ])
  expect(readdirSync(root)).toEqual(['model'])
  const { tokenizer, punctuation } = await loadModel(folder, { backend })
  expect(tokenizer?.decode(tokenizer.encode('Hello.'))).toBe('Hello.')
  expect(punctuation?.size).toBe(8200)

  await expect(saveModel(model, join(root, 'other'), { tokenizerFrom: qwen })).rejects.toThrow(
    /qwen3-tiny: there is no tokenizer.json to copy/,
  )
  expect(existsSync(join(root, 'other'))).toBe(false)
})

test('a tokenizer larger than the model is refused', async () => {
  const model = await tinyModel(backend)
  await saveModel(model, join(root, 'model'), { tokenizerFrom: join(fixtures, 'tokenizer-8k') })
  await expect(loadModel(join(root, 'model'), { backend })).rejects.toThrow(/ids up to 8191, but the model's vocab_size is 29/)
})

const breakages: [string, (folder: string) => void, RegExp][] = [
  ['no config.json', (folder) => rmSync(join(folder, 'config.json')), /broken: there is no config.json/],
  ['no weights', (folder) => rmSync(join(folder, 'model.safetensors')), /broken: there is neither model.safetensors nor/],
  ['a folder for a file', (folder) => replaceBy(folder, 'config.json', mkdirSync), /broken\/config.json: it is no file/],
  ['a list for PHSA settings', (folder) => editConfig(folder, { phsa: [] }), /broken\/config.json: phsa must be an object/],
  [
    'a dense layer too many',
    (folder) => editConfig(folder, { phsa: { denseLayers: [3] } }),
    /config.json: denseLayers has 3; .* layers 0 to 2/,
  ],
  ['too few lambdas', (folder) => editConfig(folder, { phsa: { lambda: [[0.5, 0.5]] } }), /config.json: lambda has no values for layer 1/],
  [
    'a billion layers',
    (folder) => editConfig(folder, { num_hidden_layers: 1e9, layer_types: null }),
    /tensor model.layers.3.input_layernorm.weight \[64\] is missing/,
  ],
  [
    'a huge vocabulary',
    (folder) => editConfig(folder, { vocab_size: 1e9 }),
    /embed_tokens.weight is \[512,64\]; config.json makes it \[1000000000,64\]/,
  ],
  [
    'text that is no UTF-8',
    (folder) => writeFileSync(join(folder, 'config.json'), Uint8Array.of(0x7b, 0xff, 0x7d)),
    /config.json: it is not UTF-8/,
  ],
  [
    'JSON nested deeply',
    (folder) => writeFileSync(join(folder, 'config.json'), `{"a":${'['.repeat(1e5)}${']'.repeat(1e5)}}`),
    /config.json: it is nested deeper than 64/,
  ],
  [
    'a config.json of a terabyte',
    (folder) => truncateSync(join(folder, 'config.json'), 2 ** 40),
    /config.json: it has 1099511627776 bytes; at most/,
  ],
  [
    'bad generation settings',
    (folder) => writeFileSync(join(folder, 'generation_config.json'), '{"top_p":2}'),
    /generation_config.json: top_p is 2/,
  ],
  [
    'generation settings that are no JSON',
    (folder) => writeFileSync(join(folder, 'generation_config.json'), '{"top'),
    /generation_config.json: it is not JSON/,
  ],
  [
    'a tokenizer cut short',
    (folder) => writeFileSync(join(folder, 'tokenizer.json'), '{"model":{"vocab"'),
    /tokenizer.json: it is not JSON/,
  ],
  [
    'tokenizer settings as a list',
    (folder) => {
      writeFileSync(join(folder, 'tokenizer.json'), '{"model":{"type":"BPE","vocab":{},"merges":[]}}')
      writeFileSync(join(folder, 'tokenizer_config.json'), '[]')
    },
    /tokenizer_config.json: it must hold one JSON object/,
  ],
  [
    'a decoder that punctuation cannot be read with',
    (folder) => writeFileSync(join(folder, 'tokenizer.json'), '{"model":{"type":"BPE","vocab":{},"merges":[]},"decoder":{"type":"CTC"}}'),
    /tokenizer.json: decoder.type is "CTC"/,
  ],
  ['no JSON', (folder) => writeFileSync(join(folder, 'config.json'), '{'), /broken\/config.json: it is not JSON/],
  ['another architecture', (folder) => editConfig(folder, { model_type: 'mamba' }), /broken\/config.json: model_type is "mamba"/],
  ['wrong PHSA settings', (folder) => editConfig(folder, { phsa: { topK: 65 } }), /broken\/config.json: topK is 65/],
  [
    'a missing tensor',
    (folder) => editTensors(folder, (tensors) => tensors.delete('model.layers.1.mlp.up_proj.weight')),
    /broken\/model.safetensors: tensor model.layers.1.mlp.up_proj.weight \[160,64\] is missing/,
  ],
  [
    'a wrong shape',
    (folder) => editTensors(folder, (tensors) => tensors.set('model.norm.weight', { shape: [32], data: new Float32Array(32) })),
    /model.safetensors: tensor model.norm.weight is \[32\]; config.json makes it \[64\]/,
  ],
  [
    'an extra tensor',
    (folder) =>
      editTensors(folder, (tensors) => tensors.set('model.layers.0.self_attn.q_proj.bias', { shape: [1], data: Float32Array.of(1) })),
    /model.safetensors: tensor model.layers.0.self_attn.q_proj.bias is not part of a Qwen3 decoder/,
  ],
  [
    'integers for weights',
    (folder) => editTensors(folder, (tensors) => tensors.set('model.norm.weight', { shape: [64], data: new Int32Array(64) })),
    /tensor model.norm.weight is I32; weights are/,
  ],
  [
    'a truncated file',
    (folder) => truncateSync(join(folder, 'model.safetensors'), 500_000),
    /model.safetensors: tensor model.layers.\S+ ends at byte \d+ of a file of 500000; the file is truncated/,
  ],
  ['a file of four bytes', (folder) => truncateSync(join(folder, 'model.safetensors'), 4), /model.safetensors: it has 4 bytes/],
  [
    'no safetensors file',
    (folder) => writeFileSync(join(folder, 'model.safetensors'), 'PK'.repeat(99)),
    /model.safetensors: the header claims/,
  ],
]

test.each(breakages)('%s: the error names the place, and nothing stays on the backend', async (_, damage, message) => {
  const folder = join(root, 'broken')
  cpSync(qwen, folder, { recursive: true })
  damage(folder)
  await expect(loadModel(folder, { backend })).rejects.toThrow(message)
  expect(backend.memory.usage().tensors).toBe(0)
})

test('files that fail to arrive are not called damaged: fetch too fails with a TypeError', async () => {
  const files = { ...(await folderFiles(root)), size: async () => 2, read: () => Promise.reject(new TypeError('fetch failed')) }
  await expect(loadModel(files, { backend })).rejects.toThrow(/^fetch failed$/)
  await files.close()
})

test('a folder that is not there', async () => {
  await expect(loadModel(join(root, 'nowhere'), { backend })).rejects.toThrow(/nowhere: there is no config.json/)
})

test('an element type that the backend does not have', async () => {
  const limited: ModelBackend = { ...backend, limits: { ...backend.limits, dtypes: ['f32'] } }
  await expect(loadModel(qwen, { backend: limited, dtype: 'bf16' })).rejects.toThrow(/dtype is bf16; reference takes f32/)
  expect(backend.memory.usage().tensors).toBe(0)
})

function readTensors(folder: string): Map<string, SafetensorsTensor> {
  const file = parseSafetensors(readFileSync(join(folder, 'model.safetensors')))
  return new Map([...file.entries].map(([name, { shape }]) => [name, { shape, data: file.read(name) }]))
}

function writeModel(folder: string, tensors: Map<string, SafetensorsTensor>, file = 'model.safetensors'): void {
  mkdirSync(folder, { recursive: true })
  cpSync(join(qwen, 'config.json'), join(folder, 'config.json'))
  writeFileSync(join(folder, file), serializeSafetensors(tensors))
}

function editTensors(folder: string, edit: (tensors: Map<string, SafetensorsTensor>) => void): void {
  const tensors = readTensors(folder)
  edit(tensors)
  writeModel(folder, tensors)
}

function replaceBy(folder: string, name: string, make: (path: string) => void): void {
  rmSync(join(folder, name))
  make(join(folder, name))
}

function editConfig(folder: string, change: Record<string, unknown>): void {
  const json = JSON.parse(readFileSync(join(folder, 'config.json'), 'utf8'))
  writeFileSync(join(folder, 'config.json'), JSON.stringify({ ...json, ...change }))
}

/** The file with one tensor, the last, in 16 bits. */
function rewriteType(path: string, name: string, type: string, data: Uint16Array): Buffer {
  const tensors = parseSafetensors(readFileSync(path))
  const header: Record<string, unknown> = {}
  const parts: Uint8Array[] = []
  let offset = 0
  for (const [key, { shape }] of tensors.entries) {
    const elements = key === name ? data : tensors.read(key)
    header[key] = { dtype: key === name ? type : 'F32', shape, data_offsets: [offset, offset + elements.byteLength] }
    parts.push(new Uint8Array(elements.buffer, elements.byteOffset, elements.byteLength))
    offset += elements.byteLength
  }
  const json = Buffer.from(JSON.stringify(header))
  const length = Buffer.alloc(8)
  length.writeBigUInt64LE(BigInt(json.length))
  return Buffer.concat([length, json, ...parts])
}
