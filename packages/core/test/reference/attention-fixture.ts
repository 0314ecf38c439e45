import { readdirSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { type AttentionSpec, PackedLayout, parseSafetensors, type ScoreKind } from '../../src/index.js'

const folder = new URL('../../../../fixtures/attention/', import.meta.url)

/** Names of the attention fixtures, without the ending. */
export const fixtureNames = readdirSync(fileURLToPath(folder)).map((file) => file.replace('.safetensors', ''))

export interface AttentionFixture {
  readonly spec: AttentionSpec
  readonly layout: PackedLayout
  readonly punctuation: Uint8Array
  /** One number for all heads, or one a KV head. */
  readonly lambda: number | Float64Array
  has(name: string): boolean
  /** A float tensor, widened: the fixtures were computed in float64 from these values. */
  reals(name: string): Float64Array
  integers(name: string): Int32Array
}

export function readFixture(name: string): AttentionFixture {
  const file = parseSafetensors(readFileSync(new URL(`${name}.safetensors`, folder)), name)
  const number = (key: string) => Number(file.metadata[key])
  const spec: AttentionSpec = {
    heads: number('numHeads'),
    kvHeads: number('numKvHeads'),
    headDim: number('headDim'),
    dtype: 'f64',
    blockSize: number('blockSize'),
    initTokens: number('initTokens'),
    localTokens: number('localTokens'),
    topK: number('topK'),
    representatives: number('representatives'),
    score: file.metadata.score as ScoreKind,
    denseBelow: 0,
  }
  const reals = (tensor: string) => Float64Array.from(file.read(tensor))
  return {
    spec,
    layout: new PackedLayout(Array.from(file.read('seqlens')), spec.blockSize),
    punctuation: Uint8Array.from(file.read('punct')),
    lambda: file.metadata.lambda === 'per-head' ? reals('lambda') : number('lambda'),
    has: (tensor) => file.entries.has(tensor),
    reals,
    integers: (tensor) => Int32Array.from(file.read(tensor)),
  }
}
