import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { PunctuationTable, parseSafetensors, reference, roundArray, type SafetensorsFile } from '@phsa/core'
import { loadModel } from '@phsa/model'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { exportCheckpoint } from '../../src/checkpoint/export-checkpoint.js'
import { findCheckpoint } from '../../src/checkpoint/find-checkpoint.js'
import { letterData } from '../tiny-model.js'
import { collect, runText, tinyRun } from '../tiny-run.js'

const fixtures = fileURLToPath(new URL('../../../../fixtures', import.meta.url))
const qwen = join(fixtures, 'models/qwen3-tiny')

let root: string
/** Checkpoints of one step from the folder that transformers wrote, with settings of the model's makers in it; f32 and bf16, with an average. */
const runs = { f32: '', bf16: '' }
beforeAll(async () => {
  root = mkdtempSync(join(tmpdir(), 'phsa-export-'))
  const source = join(root, 'source')
  cpSync(qwen, source, { recursive: true })
  const config = readJson(source, 'config.json')
  writeFileSync(
    join(source, 'config.json'),
    JSON.stringify({ ...config, bos_token_id: 5, pad_token_id: 6, max_window_layers: 3, our_note: { kept: true } }),
  )
  writeFileSync(
    join(source, 'generation_config.json'),
    JSON.stringify({ eos_token_id: [7, 8], pad_token_id: 6, do_sample: true, top_k: 20 }),
  )
  const tokenizer = smallTokenizer()
  for (const dtype of ['f32', 'bf16'] as const) {
    runs[dtype] = join(root, dtype)
    const { model } = await loadModel(source, { backend: await reference(), dtype })
    await collect(
      await tinyRun({
        model,
        data: await letterData(runText),
        punctuation: new PunctuationTable(new Map(), 512),
        steps: 1,
        batch: { sequences: 1, tokens: 16 },
        ema: { decay: 0.5 },
        checkpoint: { folder: runs[dtype], tokenizerFrom: tokenizer, maxShardBytes: 200_000 },
      }),
    )
  }
})
afterAll(() => rmSync(root, { recursive: true }))

/** The first 512 tokens of the fixtures' tokenizer: the model has no more. */
function smallTokenizer(): string {
  const folder = join(root, 'tokenizer')
  cpSync(join(fixtures, 'tokenizer-8k'), folder, { recursive: true })
  const json = readJson(folder, 'tokenizer.json')
  const vocab = Object.fromEntries(Object.entries<number>(json.model.vocab).filter(([, id]) => id < 512))
  const merges = json.model.merges.filter((pair: string | string[]) => (Array.isArray(pair) ? pair : pair.split(' ')).join('') in vocab)
  writeFileSync(join(folder, 'tokenizer.json'), JSON.stringify({ ...json, model: { ...json.model, vocab, merges } }))
  return folder
}

const readJson = (folder: string, name: string) => JSON.parse(readFileSync(join(folder, name), 'utf8'))
const weightsOf = (folder: string) => parseSafetensors(readFileSync(join(folder, 'model.safetensors')))

/** Tensors of a checkpoint's part, over its shards. */
async function stored(run: string, stem: string): Promise<{ read: (name: string) => unknown; names: string[]; shards: number }> {
  const path = await findCheckpoint(run)
  const files = readdirSync(path).filter((name) => name.startsWith(stem) && name.endsWith('.safetensors'))
  const shards: SafetensorsFile[] = files.map((name) => parseSafetensors(readFileSync(join(path, name))))
  return {
    read: (name) => shards.find(({ entries }) => entries.has(name))?.read(name),
    names: shards.flatMap(({ entries }) => [...entries.keys()]),
    shards: files.length,
  }
}

test('the folder has what that of Qwen3 has: the same entries, and tensors of the same names, shapes and types', async () => {
  const out = join(root, 'out')
  expect(await exportCheckpoint(runs.f32, out)).toEqual({ checkpoint: await findCheckpoint(runs.f32), step: 1 })
  expect(readdirSync(out).sort()).toEqual(
    [
      ...['config.json', 'generation_config.json', 'model.safetensors'],
      ...readdirSync(await findCheckpoint(runs.f32)).filter((name) => /^(tokenizer|special|added|chat|vocab|merges)/.test(name)),
    ].sort(),
  )
  const { dtype: _, eos_token_id: __, ...original } = readJson(join(root, 'source'), 'config.json')
  const config = readJson(out, 'config.json')
  expect(config).toMatchObject(original)
  expect(config).toMatchObject({ dtype: 'float32', torch_dtype: 'float32', eos_token_id: [7, 8], our_note: { kept: true } })
  expect(config).toMatchObject({ architectures: ['Qwen3ForCausalLM'], model_type: 'qwen3', bos_token_id: 5, pad_token_id: 6 })
  expect(readJson(out, 'generation_config.json')).toEqual(readJson(join(root, 'source'), 'generation_config.json'))

  const [expected, actual] = [weightsOf(qwen), weightsOf(out)]
  expect(actual.metadata).toEqual({ format: 'pt' })
  expect(new Set(actual.entries.keys())).toEqual(new Set(expected.entries.keys()))
  for (const [name, { shape, type }] of expected.entries) {
    expect(actual.entries.get(name)).toMatchObject({ shape, type })
    expect(actual.read(name)).not.toEqual(expected.read(name))
  }
})

test.each(['f32', 'bf16'] as const)('what was trained is what loads again: %s', async (dtype) => {
  const out = join(root, `again-${dtype}`)
  await exportCheckpoint(runs[dtype], out)
  const { model, tokenizer } = await loadModel(out, { backend: await reference(), dtype })
  expect(tokenizer?.vocabSize).toBe(512)
  const { read, shards } = await stored(runs[dtype], 'model')
  expect(shards).toBeGreaterThan(1)
  expect([...weightsOf(out).entries.values()].every(({ type }) => type === dtype.toUpperCase())).toBe(true)
  for (const [name, tensor] of model.parameters) expect(await model.backend.memory.download(tensor)).toEqual(read(name))
})

test('the average, and a 16-bit run at its finest', async () => {
  const { read, names } = await stored(runs.bf16, 'optimizer')
  expect(names.filter((name) => name.endsWith('.average')).length).toBe(names.filter((name) => name.endsWith('.mean')).length)
  await exportCheckpoint(runs.bf16, join(root, 'ema'), { weights: 'ema', dtype: 'f32' })
  await exportCheckpoint(runs.bf16, join(root, 'wide'), { dtype: 'f32' })
  await exportCheckpoint(runs.bf16, join(root, 'narrow'), { weights: 'ema' })
  const [ema, wide, narrow] = ['ema', 'wide', 'narrow'].map((name) => weightsOf(join(root, name)))
  for (const name of ema.entries.keys()) {
    expect(ema.read(name)).toEqual(read(`${name}.average`))
    expect(wide.read(name)).toEqual(read(`${name}.master`))
    expect(narrow.read(name)).toEqual(roundArray(ema.read(name) as Float32Array, 'bf16'))
  }
  expect(readJson(join(root, 'ema'), 'config.json').dtype).toBe('float32')
  expect(readJson(join(root, 'narrow'), 'config.json').torch_dtype).toBe('bfloat16')
})

test('a large model is written in shards with their index', async () => {
  const out = join(root, 'shards')
  await exportCheckpoint(runs.f32, out, { maxShardBytes: 100_000, dtype: 'f16' })
  const { weight_map: map } = readJson(out, 'model.safetensors.index.json')
  expect(new Set(Object.keys(map))).toEqual(new Set(weightsOf(qwen).entries.keys()))
  expect(new Set(Object.values(map)).size).toBeGreaterThan(1)
})

test('a model from scratch gets generation settings with its end tokens', async () => {
  const run = join(root, 'scratch')
  await collect(await tinyRun({ steps: 1, checkpoint: { folder: run } }))
  await exportCheckpoint(run, join(root, 'scratch-out'))
  expect(readJson(join(root, 'scratch-out'), 'generation_config.json')).toEqual({ eos_token_id: 0, do_sample: false })
  await expect(exportCheckpoint(run, join(root, 'none'), { weights: 'ema' })).rejects.toThrow('its run had no ema')
})

test('a damaged checkpoint is not exported, and none into itself or another', async () => {
  const copy = join(root, 'copy')
  cpSync(await findCheckpoint(runs.f32), copy, { recursive: true })
  await expect(exportCheckpoint(copy, join(copy, 'out'))).rejects.toThrow('lies in the checkpoint')
  await expect(exportCheckpoint(copy, copy)).rejects.toThrow('lies in the checkpoint')
  const inOther = join(await findCheckpoint(runs.f32), 'deep/out')
  await expect(exportCheckpoint(copy, inOther)).rejects.toThrow(`lies in the checkpoint ${await findCheckpoint(runs.f32)}`)
  writeFileSync(join(copy, 'tokenizer.json'), '{}')
  await expect(exportCheckpoint(copy, join(root, 'never'))).rejects.toThrow(/tokenizer\.json is damaged/)
  expect(readdirSync(root)).not.toContain('never')
  await expect(exportCheckpoint(join(root, 'nowhere'), join(root, 'never'))).rejects.toThrow('holds none')
})
