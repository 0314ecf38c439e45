import type { RandomStream } from '@phsa/core'
import type { FolderContents, FuzzCorpus } from './fuzz-corpus.js'
import { choice, randomOf } from './fuzz-random.js'
import { mutateBytes } from './mutate-bytes.js'
import { mutateJson } from './mutate-json.js'

/** What an input is given to. */
export type FuzzTarget = 'loadModel' | 'parseSafetensors' | 'TextTokenizer' | 'parseDecoderConfig' | 'PunctuationTable'

/** One mutated input. */
export interface FuzzCase {
  readonly target: FuzzTarget
  /** All files, the mutated among them. */
  readonly files: FolderContents
  /** Which files were mutated, and how. */
  readonly mutated: Readonly<Record<string, readonly string[]>>
}

/** Of a hundred inputs, how many go where. */
const SHARES: readonly (readonly [FuzzTarget, number])[] = [
  ['loadModel', 45],
  ['parseSafetensors', 20],
  ['TextTokenizer', 15],
  ['parseDecoderConfig', 10],
  ['PunctuationTable', 10],
]

/** The input of a number: the same for the same seed, corpus and code. */
export function fuzzCase(corpus: FuzzCorpus, seed: number, index: number): FuzzCase {
  const random = randomOf(seed, index)
  const target = targetOf(random)
  const folder = folderOf(random, corpus, target)
  const names = mutableNames(target, folder)
  const files: Record<string, Uint8Array> = { ...folder }
  const mutated: Record<string, readonly string[]> = {}
  // Two at once, rarely: that they contradict each other is found with one.
  for (let count = random.below(8) === 0 ? 2 : 1; count > 0; count--) {
    const name = choice(random, names)
    const { bytes, done } = mutateFile(random, name, files[name])
    files[name] = bytes
    mutated[name] = [...(mutated[name] ?? []), ...done]
  }
  return { target, files, mutated }
}

function targetOf(random: RandomStream): FuzzTarget {
  let drawn = random.below(100)
  for (const [target, share] of SHARES) {
    if (drawn < share) return target
    drawn -= share
  }
  return 'loadModel'
}

function folderOf(random: RandomStream, corpus: FuzzCorpus, target: FuzzTarget): FolderContents {
  // The whole tokenizer takes fifty times as long as the small one.
  if ((target === 'TextTokenizer' || target === 'PunctuationTable') && random.below(100) === 0) return corpus.tokenizer
  return target === 'loadModel' && random.below(2) === 0 ? corpus.sharded : corpus.single
}

function mutableNames(target: FuzzTarget, folder: FolderContents): string[] {
  const names = Object.keys(folder)
  // The settings decide what everything else must be.
  if (target === 'loadModel') return [...names, 'config.json', 'config.json']
  if (target === 'parseSafetensors') return names.filter((name) => name.endsWith('.safetensors'))
  if (target === 'parseDecoderConfig') return ['config.json']
  return target === 'PunctuationTable' ? ['tokenizer.json'] : ['tokenizer.json', 'tokenizer_config.json']
}

function mutateFile(random: RandomStream, name: string, bytes: Uint8Array): { bytes: Uint8Array; done: string[] } {
  if (random.below(4) === 0) return mutateBytes(random, bytes)
  if (name.endsWith('.safetensors')) return mutateHeader(random, bytes)
  const text = new TextDecoder().decode(bytes)
  // Mutated before, and now no JSON, or too deep to be written again: only its bytes are left to change.
  if (!isJson(text)) return mutateBytes(random, bytes)
  const { text: changed, done } = mutateJson(random, text)
  return { bytes: new TextEncoder().encode(changed), done }
}

/** The header as JSON; the data stays. The length is put right, so that the header is read. */
function mutateHeader(random: RandomStream, bytes: Uint8Array): { bytes: Uint8Array; done: string[] } {
  const length = bytes.length < 8 ? 0 : Number(new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(0, true))
  const header = new TextDecoder().decode(bytes.subarray(8, 8 + length))
  if (!isJson(header)) return mutateBytes(random, bytes)
  const { text, done } = mutateJson(random, header)
  const json = new TextEncoder().encode(text)
  const changed = new Uint8Array(8 + json.length + bytes.length - 8 - length)
  new DataView(changed.buffer).setBigUint64(0, BigInt(json.length), true)
  changed.set(json, 8)
  changed.set(bytes.subarray(8 + length), 8 + json.length)
  return { bytes: changed, done: done.map((name) => `header.${name}`) }
}

function isJson(text: string): boolean {
  if (text.includes('['.repeat(100))) return false
  try {
    const value: unknown = JSON.parse(text)
    return typeof value === 'object' && value !== null
  } catch (error) {
    if (error instanceof SyntaxError) return false
    throw error
  }
}
