import {
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { type ModelBackend, parseSafetensors, roundArray, type Tensor } from '@phsa/core'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { type DecoderModel, folderFiles, loadModel, saveModel } from '../src/index.js'
import { testedBackends } from './backends.js'
import { tinyConfig, tinyModel } from './tiny-model.js'

/** Called after every change of the names of a folder. */
const disk = vi.hoisted(() => {
  // A worker keeps the modules of the file before, and those have the real file system.
  vi.resetModules()
  return { changed: (): void => undefined }
})
vi.mock('node:fs/promises', async (importOriginal) => {
  const original = await importOriginal<typeof import('node:fs/promises')>()
  const watched =
    <A extends unknown[]>(run: (...args: A) => Promise<void>) =>
    async (...args: A) => {
      await run(...args)
      disk.changed()
    }
  return { ...original, rename: watched<[string, string]>(original.rename), rm: watched<[string]>(original.rm) }
})

let root: string
let backend: ModelBackend
let folder: string
beforeEach(async () => {
  root = mkdtempSync(join(tmpdir(), 'phsa-save-'))
  folder = join(root, 'model')
  backend = await testedBackends[0].create()
})
afterEach(() => {
  disk.changed = () => undefined
  backend.dispose()
  rmSync(root, { recursive: true })
})

async function weightsOf({ parameters }: DecoderModel): Promise<Map<string, Float32Array>> {
  const weights = new Map<string, Float32Array>()
  for (const [name, tensor] of parameters) weights.set(name, (await backend.memory.download(tensor)) as Float32Array)
  return weights
}

/** Calls `before` with the name of each parameter that is downloaded. */
function watchDownloads(model: DecoderModel, before: (name: string) => void): void {
  const { memory } = backend
  const names = new Map([...model.parameters].map(([name, tensor]) => [tensor, name]))
  const download = memory.download.bind(memory)
  memory.download = async (tensor: Tensor) => {
    const name = names.get(tensor)
    if (name !== undefined) before(name)
    return download(tensor)
  }
}

test('shards hold each tensor once, none more than was allowed but those of one larger tensor, and the index says where', async () => {
  const model = await tinyModel(backend)
  const maxShardBytes = 1500
  await saveModel(model, folder, { maxShardBytes })
  const files = readdirSync(folder).filter((name) => name.endsWith('.safetensors'))
  expect(files.length).toBeGreaterThan(5)
  const index = JSON.parse(readFileSync(join(folder, 'model.safetensors.index.json'), 'utf8'))
  expect(new Set(Object.values(index.weight_map))).toEqual(new Set(files))
  let total = 0
  for (const [number, file] of files.sort().entries()) {
    expect(file).toBe(`model-${String(number + 1).padStart(5, '0')}-of-${String(files.length).padStart(5, '0')}.safetensors`)
    const { entries, metadata, headerBytes } = parseSafetensors(readFileSync(join(folder, file)))
    expect(metadata).toEqual({ format: 'pt' })
    const bytes = [...entries.values()].reduce((sum, { begin, end }) => sum + end - begin, 0)
    expect(bytes <= maxShardBytes || entries.size === 1).toBe(true)
    expect(headerBytes % 8).toBe(0)
    for (const name of entries.keys()) expect(index.weight_map[name]).toBe(file)
    total += bytes
  }
  expect(index.metadata).toEqual({ total_size: total })
  expect(total).toBe(model.parameterCount * 4)
  const { model: loaded } = await loadModel(folder, { backend })
  expect(await weightsOf(loaded)).toEqual(await weightsOf(model))
})

test('one file where everything fits, to the byte', async () => {
  const model = await tinyModel(backend)
  await saveModel(model, folder, { maxShardBytes: model.parameterCount * 4 })
  expect(readdirSync(folder).sort()).toEqual(['config.json', 'model.safetensors'])
  await saveModel(model, folder, { maxShardBytes: model.parameterCount * 4 - 1 })
  expect(readdirSync(folder).sort()).toEqual([
    'config.json',
    'model-00001-of-00002.safetensors',
    'model-00002-of-00002.safetensors',
    'model.safetensors.index.json',
  ])
  await expect(saveModel(model, folder, { maxShardBytes: 0 })).rejects.toThrow(/maxShardBytes is 0; it must be at least 1/)
  await expect(saveModel(model, folder, { maxShardBytes: Number.NaN })).rejects.toThrow(/maxShardBytes is NaN/)
  expect(readdirSync(root)).toEqual(['model'])
})

test('f16: a file holds the weights rounded to nearest even, and an f16 model is written as it is', async () => {
  const model = await tinyModel(backend)
  await saveModel(model, folder, { type: 'f16' })
  const { model: loaded } = await loadModel(folder, { backend, dtype: 'f16' })
  expect([...(await weightsOf(loaded)).values()]).toEqual([...(await weightsOf(model)).values()].map((values) => roundArray(values, 'f16')))
  await saveModel(loaded, join(root, 'again'))
  expect(readFileSync(join(root, 'again/model.safetensors'))).toEqual(readFileSync(join(folder, 'model.safetensors')))
  expect(JSON.parse(readFileSync(join(root, 'again/config.json'), 'utf8')).dtype).toBe('float16')
})

test('weights are asked for one by one, each after the one before it was written', async () => {
  const model = await tinyModel(backend)
  const written: number[] = []
  watchDownloads(model, () => {
    const [partial] = readdirSync(root)
    written.push(readFileSync(join(root, partial, 'model.safetensors')).length)
  })
  await saveModel(model, folder)
  const sizes = [...model.parameters.values()].map(({ shape }) => shape.reduce((product, extent) => product * extent, 4))
  const { headerBytes } = parseSafetensors(readFileSync(join(folder, 'model.safetensors')))
  expect(written).toEqual(sizes.map((_, index) => sizes.slice(0, index).reduce((sum, size) => sum + size, headerBytes)))
})

test('a save that fails while it writes leaves what was there, and nothing else', async () => {
  const model = await tinyModel(backend)
  await saveModel(model, folder, { maxShardBytes: 5000 })
  const before = contents(folder)
  const other = await tinyModel(backend, { seed: 2 })
  watchDownloads(other, (name) => {
    if (name === 'model.norm.weight') throw new Error('device lost')
  })
  await expect(saveModel(other, folder)).rejects.toThrow('device lost')
  expect(contents(folder)).toEqual(before)
  expect(readdirSync(folder)).toEqual(Object.keys(before))
  expect(readdirSync(root)).toEqual(['model'])
})

test.each([
  ['a single file', 'shards', 5000, Number.POSITIVE_INFINITY],
  ['shards', 'a single file', Number.POSITIVE_INFINITY, 5000],
  ['few shards', 'many', 2000, 20_000],
])('%s over %s: nothing of the older save counts any more', async (_, __, older, newer) => {
  await saveModel(await tinyModel(backend, { seed: 2 }), folder, { maxShardBytes: older, generation: { maxNewTokens: 3 } })
  mkdirSync(join(folder, 'logs'))
  writeFileSync(join(folder, 'README.md'), 'kept')
  const config = { ...tinyConfig, tieWordEmbeddings: false, eosTokenIds: [4] }
  const model = await tinyModel(backend, { config })
  await saveModel(model, folder, { maxShardBytes: newer })
  const index = join(folder, 'model.safetensors.index.json')
  const named = existsSync(index) ? [...new Set(Object.values(JSON.parse(readFileSync(index, 'utf8')).weight_map))] : ['model.safetensors']
  expect(readdirSync(folder).filter((name) => name.endsWith('.safetensors'))).toEqual(named)
  expect(existsSync(join(folder, 'generation_config.json'))).toBe(false)
  expect(existsSync(join(folder, 'README.md')) && existsSync(join(folder, 'logs'))).toBe(true)
  const { model: loaded, generation } = await loadModel(folder, { backend })
  expect(loaded.config).toEqual(config)
  expect(generation).toEqual({})
  expect(await weightsOf(loaded)).toEqual(await weightsOf(model))
})

test('a folder that is a link stays one', async () => {
  mkdirSync(join(root, 'disk/models'), { recursive: true })
  symlinkSync(join(root, 'disk/models'), folder, 'junction')
  await saveModel(await tinyModel(backend), folder)
  expect(lstatSync(folder).isSymbolicLink()).toBe(true)
  expect(readdirSync(join(root, 'disk/models')).sort()).toEqual(['config.json', 'model.safetensors'])
  expect(readdirSync(root).sort()).toEqual(['disk', 'model'])
})

test('generation settings travel with the model', async () => {
  const generation = {
    stopTokenIds: [3, 4],
    sampling: { temperature: 0.6, topK: 20, topP: 0.95, minP: 0, repetitionPenalty: 1 },
    maxNewTokens: 9,
  }
  const model = await tinyModel(backend)
  await saveModel(model, folder, { generation })
  const loaded = await loadModel(folder, { backend })
  expect(loaded.generation).toEqual(generation)
  expect(loaded.model.config.eosTokenIds).toEqual([3, 4])
  await saveModel(loaded.model, join(root, 'again'), { generation: loaded.generation })
  expect(contents(join(root, 'again'))).toEqual({ ...contents(folder), 'config.json': expect.anything() })
})

test('whatever instant of a save a reader sees, it gets the old model, the new one, or an error that names the file', async () => {
  const older = await tinyModel(backend, { seed: 2 })
  const model = await tinyModel(backend, { config: { ...tinyConfig, eosTokenIds: [4] } })
  await saveModel(older, folder, { maxShardBytes: 5000 })
  const states = [contents(folder)]
  disk.changed = () => states.push(contents(folder))
  await saveModel(model, folder, { maxShardBytes: 20_000 })
  disk.changed = () => undefined
  const weights = [await weightsOf(older), await weightsOf(model)]
  const seen = new Set<string>()
  for (const state of states) {
    writeState(folder, state)
    try {
      const loaded = await loadModel(folder, { backend })
      const which = loaded.model.config.eosTokenIds.length
      expect(await weightsOf(loaded.model)).toEqual(weights[which])
      loaded.model.dispose()
      seen.add(which === 0 ? 'old' : 'new')
    } catch (error) {
      seen.add((error as Error).message.replace(folder, '').slice(0, 28))
    }
  }
  expect(states.length).toBeGreaterThan(5)
  expect([...seen]).toEqual(['old', ': there is no config.json; g', 'new'])
})

test('neither model loses a file before the new one stands, and what a save that was cut short left is cleared by the next', async () => {
  const older = await tinyModel(backend, { seed: 2 })
  const model = await tinyModel(backend)
  await saveModel(older, folder, { maxShardBytes: 5000 })
  await saveModel(model, join(root, 'other'))
  const cutShort = `.${crypto.randomUUID()}.partial`
  mkdirSync(join(folder, cutShort))
  const before = contents(folder)
  const after = contents(join(root, 'other'))
  let instants = 0
  disk.changed = () => {
    if (existsSync(join(folder, 'config.json'))) return
    instants++
    const folders = readdirSync(folder).filter((name) => name.startsWith('.'))
    const files = [folder, ...folders.map((name) => join(folder, name))].flatMap((path) => Object.entries(contents(path)))
    for (const model of [before, after]) expect(files).toEqual(expect.arrayContaining(Object.entries(model)))
  }
  await saveModel(model, folder)
  expect(instants).toBeGreaterThan(5)
  expect(readdirSync(folder)).toEqual(Object.keys(after))
})

test('a tokenizer over another one leaves nothing of it, its chat template for instance; without one the old one stays', async () => {
  const model = await tinyModel(backend)
  const tokenizerFrom = join(root, 'tokenizer')
  mkdirSync(tokenizerFrom)
  writeFileSync(join(tokenizerFrom, 'tokenizer.json'), '{}')
  await saveModel(model, folder, { tokenizerFrom })
  writeFileSync(join(folder, 'chat_template.jinja'), 'of the older tokenizer')
  await saveModel(model, folder)
  expect(readdirSync(folder).sort()).toEqual(['chat_template.jinja', 'config.json', 'model.safetensors', 'tokenizer.json'])
  await saveModel(model, folder, { tokenizerFrom: folder })
  expect(readdirSync(folder).sort()).toEqual(['chat_template.jinja', 'config.json', 'model.safetensors', 'tokenizer.json'])
  await saveModel(model, folder, { tokenizerFrom })
  expect(readdirSync(folder).sort()).toEqual(['config.json', 'model.safetensors', 'tokenizer.json'])
})

test('a reader that began before a save and goes on after it is told so', async () => {
  await saveModel(await tinyModel(backend, { seed: 2 }), folder)
  const model = await tinyModel(backend)
  const opened = await folderFiles(folder)
  // The save happens between the old configuration and the weights.
  const files = {
    ...opened,
    size: async (name: string) => {
      if (name === 'model.safetensors') await saveModel(model, folder)
      return opened.size(name)
    },
  }
  await expect(loadModel(files, { backend })).rejects.toThrow(/model\/config.json: it was replaced while the folder was read/)
  await opened.close()
})

test('a place that cannot be moved into says where the new files are', async () => {
  const model = await tinyModel(backend)
  await saveModel(model, folder)
  // A folder in the place of a file cannot be replaced by a file.
  rmSync(join(folder, 'model.safetensors'))
  mkdirSync(join(folder, 'model.safetensors/in-the-way'), { recursive: true })
  await expect(saveModel(model, folder)).rejects.toThrow(
    /the files could not be moved into it .*; those that are not there are in .*\.partial/,
  )
  const partial = readdirSync(folder).find((name) => name.endsWith('.partial'))!
  rmSync(join(folder, 'model.safetensors'), { recursive: true })
  for (const name of readdirSync(join(folder, partial))) renameSync(join(folder, partial, name), join(folder, name))
  const { model: loaded } = await loadModel(folder, { backend })
  expect(await weightsOf(loaded)).toEqual(await weightsOf(model))
})

type Contents = Record<string, string>

function contents(path: string): Contents {
  const names = readdirSync(path, { withFileTypes: true }).filter((entry) => entry.isFile())
  return Object.fromEntries(names.map(({ name }) => [name, readFileSync(join(path, name), 'latin1')]))
}

function writeState(path: string, state: Contents): void {
  rmSync(path, { recursive: true })
  mkdirSync(path)
  for (const [name, text] of Object.entries(state)) writeFileSync(join(path, name), text, 'latin1')
}

test('a model that came from a folder says again what its files said', async () => {
  const source = fileURLToPath(new URL('../../../fixtures/models/qwen3-tiny', import.meta.url))
  const { model } = await loadModel(source, { backend })
  await saveModel(model, folder)
  const read = (from: string, name: string) => JSON.parse(readFileSync(join(from, name), 'utf8'))
  expect(read(folder, 'config.json')).toMatchObject(read(source, 'config.json'))
  expect(read(folder, 'generation_config.json')).toEqual(read(source, 'generation_config.json'))
  await saveModel(model, folder, { generation: { maxNewTokens: 3 } })
  expect(read(folder, 'generation_config.json')).toEqual({ eos_token_id: null, do_sample: false, max_new_tokens: 3 })
})

test('weights from elsewhere are saved as those of a model, and every file goes through the writer that is given', async () => {
  const model = await tinyModel(backend)
  await saveModel(model, folder)
  const { config, phsa, dtype, parameters } = model
  const content = { config, phsa, dtype, parameters, read: (name: string) => backend.memory.download(parameters.get(name)!) }
  const written: string[] = []
  await saveModel(content, join(root, 'other'), {
    async writeFile(path, parts) {
      const pieces: Uint8Array[] = []
      for await (const part of parts) pieces.push(part.slice())
      writeFileSync(path, Buffer.concat(pieces))
      written.push(basename(path))
    },
  })
  expect(written.sort()).toEqual(readdirSync(folder).sort())
  for (const name of written) expect(readFileSync(join(root, 'other', name))).toEqual(readFileSync(join(folder, name)))
})
