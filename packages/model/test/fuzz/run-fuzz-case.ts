import { InvalidConfigError, isPhsaError, type ModelBackend, PunctuationTable, parseSafetensors, type SafetensorsFile } from '@phsa/core'
import { loadModel, type ModelFiles, parseDecoderConfig, renderChat, TextTokenizer } from '../../src/index.js'
import type { FuzzCase, FuzzTarget } from './fuzz-case.js'
import type { FolderContents } from './fuzz-corpus.js'

/** How an input ended: it was taken, refused with an error of ours, or `fault` says what went wrong. */
export type FuzzOutcome =
  | { readonly kind: 'loaded' }
  | { readonly kind: 'refused'; readonly code: string }
  | { readonly kind: 'fault'; readonly fault: string }

/** What errors call the folder. */
const LABEL = 'fuzzed-folder'

const SAMPLE = "It's 12 o'clock — naïve 漢字.\n<|im_end|> aaaa"

/** Gives an input to its target. Nothing but an error of ours that names its file may come out, and nothing may stay on the backend. */
export async function runFuzzCase(fuzzCase: FuzzCase, backend: ModelBackend): Promise<FuzzOutcome> {
  const outcome = await outcomeOf(fuzzCase, backend)
  const { tensors } = backend.memory.usage()
  return tensors === 0 ? outcome : { kind: 'fault', fault: `${tensors} tensors stay on the backend after ${outcome.kind}` }
}

async function outcomeOf({ target, files }: FuzzCase, backend: ModelBackend): Promise<FuzzOutcome> {
  try {
    await targets[target](files, backend)
    return { kind: 'loaded' }
  } catch (error) {
    return judge(target, error)
  }
}

/** Whether an error says what it must: the file, or where the target is given no file the setting. */
export function judge(target: FuzzTarget, error: unknown): FuzzOutcome {
  if (!isPhsaError(error)) return { kind: 'fault', fault: `not an error of ours: ${(error as Error)?.stack ?? String(error)}` }
  const { message, code } = error
  const fault = (what: string): FuzzOutcome => ({ kind: 'fault', fault: `${what}: ${message}` })
  if (message.length > 2000) return fault(`a message of ${message.length} letters`)
  if (/\bundefined\b|\[object /.test(message)) return fault('a message that shows what nobody wrote')
  if (target === 'parseDecoderConfig' || target === 'PunctuationTable') {
    const names = (error as InvalidConfigError).setting
    return names ? { kind: 'refused', code } : fault('no setting is named')
  }
  if (!message.includes(LABEL)) return fault('the file is not named')
  // The folder alone will do where a file is missing.
  return /fuzzed-folder\/[\w.-]+: |fuzzed-folder: there is n/.test(message) ? { kind: 'refused', code } : fault('the file is not named')
}

const targets: Readonly<Record<FuzzTarget, (files: FolderContents, backend: ModelBackend) => unknown>> = {
  async loadModel(files, backend) {
    const { model, tokenizer } = await loadModel(inMemory(files), { backend })
    model.dispose()
    if (tokenizer) useTokenizer(tokenizer)
  },
  parseSafetensors(files) {
    const bytes = files['model.safetensors']
    const file = parseSafetensors(bytes, `${LABEL}/model.safetensors`)
    requireWhole(file, bytes.length)
  },
  async TextTokenizer(files) {
    const tokenizer = await TextTokenizer.fromFiles(inMemory(files))
    if (tokenizer) useTokenizer(tokenizer)
  },
  parseDecoderConfig: (files) => withJson(files['config.json'], parseDecoderConfig),
  PunctuationTable: (files) => withJson(files['tokenizer.json'], (json) => PunctuationTable.fromTokenizer(json).describe()),
}

/** A file that is taken gives each of its bytes to one element of one tensor. */
function requireWhole(file: SafetensorsFile, fileBytes: number): void {
  const taken = new Uint8Array(fileBytes).fill(1, 0, file.headerBytes)
  for (const [name, { shape, begin, end }] of file.entries) {
    const elements = shape.reduce((product, extent) => product * extent, 1)
    if (file.read(name).length !== elements) throw new Error(`${name} of shape [${shape}] has ${file.read(name).length} elements`)
    if (taken.subarray(begin, end).includes(1)) throw new Error(`${name} shares bytes with another tensor`)
    taken.fill(1, begin, end)
  }
  if (taken.includes(0)) throw new Error('there are bytes of no tensor')
}

/** A damaged tokenizer may be taken; then it must work, or say that it cannot. */
function useTokenizer(tokenizer: TextTokenizer): void {
  const ids = tokenizer.encode(SAMPLE)
  const unknown = ids.find((id) => id < 0 || id >= tokenizer.vocabSize)
  if (unknown !== undefined) throw new Error(`encoding gives ${unknown}, of a vocabulary of ${tokenizer.vocabSize}`)
  if (typeof tokenizer.decode(ids) !== 'string') throw new Error('decoding gives no text')
  try {
    renderChat(tokenizer, [{ role: 'user', content: 'Hi' }])
  } catch (error) {
    // A template may refuse a conversation in its own words.
    if (!isPhsaError(error, 'invalid-input')) throw error
  }
}

/** What is no JSON never gets here in use. */
function withJson(bytes: Uint8Array, run: (json: unknown) => void): void {
  let json: unknown
  try {
    json = JSON.parse(new TextDecoder().decode(bytes))
  } catch (cause) {
    throw new InvalidConfigError('json', `${LABEL}: no JSON`, { cause })
  }
  run(json)
}

function inMemory(files: FolderContents): ModelFiles {
  return {
    label: LABEL,
    size: async (name) => (Object.hasOwn(files, name) ? files[name].length : undefined),
    read: async (name, begin, end) => files[name].slice(begin, end),
    close: async () => undefined,
  }
}
