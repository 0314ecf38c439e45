import type { DType } from '../contract/tensor.js'
import { PackedLayout } from '../packed-layout.js'
import { branchWeights, poolingWeights } from '../pooling-weights.js'
import { RandomStream } from '../random-stream.js'
import type { AttentionCase, InputKind } from './attention-case.js'
import { rounded } from './rounded.js'

/** The host data of a case: rounded to the tested type, so that the reference and the backend see the same numbers. Exact layout, no padding. */
export interface AttentionInputs {
  /** [Tq, Hq, D] */
  readonly q: Float32Array
  /** [Tk, Hkv, D] */
  readonly k: Float32Array
  readonly v: Float32Array
  /** [Tq, Hq, D] */
  readonly dOut: Float32Array
  readonly layout: PackedLayout
  /** One byte a token [Tk]. */
  readonly punctuation: Uint8Array
  readonly weights: HostTokenWeights
}

/** Token weights on the host; see `TokenWeights`. */
export type HostTokenWeights =
  | { readonly kind: 'fused'; readonly weights: Float32Array }
  | { readonly kind: 'branches'; readonly global: Float32Array; readonly punctuation: Float32Array; readonly lambda: Float32Array }

/** Makes the data of a case for an element type; the same on every machine. */
export function attentionInputs(attentionCase: AttentionCase, dtype: DType): AttentionInputs {
  const { spec, keyLengths, queryLengths, seed, lambda, inputs: kind } = attentionCase
  const layout = new PackedLayout(keyLengths, spec.blockSize, queryLengths)
  const random = new RandomStream(seed)
  const k = fillKeys(random, layout, spec.kvHeads, spec.headDim, kind)
  const q = fillQueries(random, layout, spec.heads, spec.kvHeads, spec.headDim, k, kind)
  const v =
    kind === 'equal-values'
      ? repeatRow(normals(random, spec.kvHeads * spec.headDim), layout.totalTokens)
      : normals(random, layout.totalTokens * spec.kvHeads * spec.headDim)
  const dOut = normals(random, q.length)
  const punctuation = punctuationMarks(random, layout)
  return {
    q: rounded(q, dtype),
    k: rounded(k, dtype),
    v: rounded(v, dtype),
    dOut: rounded(dOut, dtype),
    layout,
    punctuation,
    weights: hostTokenWeights(punctuation, layout, lambda, spec.kvHeads, spec.representatives),
  }
}

/** Fused weights for one lambda, both branches for one a KV head. */
export function hostTokenWeights(
  punctuation: Uint8Array,
  layout: PackedLayout,
  lambda: number | readonly number[],
  kvHeads: number,
  representatives: number,
): HostTokenWeights {
  if (typeof lambda === 'number') return { kind: 'fused', weights: poolingWeights(punctuation, layout, lambda, representatives) }
  if (lambda.length !== kvHeads) throw new RangeError(`${lambda.length} lambdas for ${kvHeads} KV heads; give one each.`)
  return { kind: 'branches', ...branchWeights(punctuation, layout, representatives), lambda: Float32Array.from(lambda) }
}

/** About one token in six; every fifth block has none and every seventh nothing else, so that both fallbacks are met. */
export function punctuationMarks(random: RandomStream, layout: PackedLayout): Uint8Array {
  const marks = new Uint8Array(layout.totalTokens)
  for (const block of layout.blocks()) {
    const chance = block.index % 5 === 3 ? 0 : block.index % 7 === 5 ? 1 : 1 / 6
    for (let token = block.start; token < block.end; token++) marks[token] = random.uniform() < chance ? 1 : 0
  }
  return marks
}

/** Standard normal numbers. */
export function normals(random: RandomStream, count: number, scale = 1): Float32Array {
  return Float32Array.from({ length: count }, () => random.normal() * scale)
}

function fillKeys(random: RandomStream, layout: PackedLayout, kvHeads: number, D: number, kind: InputKind): Float32Array {
  const width = kvHeads * D
  if (kind === 'ties') return repeatRow(quarters(random, width), layout.totalTokens)
  if (kind === 'steep') return integers(random, layout.totalTokens * width, 16)
  const k = normals(random, layout.totalTokens * width)
  if (kind !== 'trained') return k
  const mean = normals(random, width, 0.5)
  for (const block of layout.blocks()) {
    const cluster = normals(random, width, 1.2)
    for (let token = block.start; token < block.end; token++) {
      // The first tokens of a sequence draw every query, as sinks do in a trained model.
      const sink = block.index === 0 && token - block.start < 2 ? 2 : 1
      for (let index = 0; index < width; index++) {
        const offset = token * width + index
        k[offset] = sink * (mean[index] + cluster[index] + 0.5 * k[offset])
      }
    }
  }
  return k
}

function fillQueries(
  random: RandomStream,
  layout: PackedLayout,
  heads: number,
  kvHeads: number,
  D: number,
  k: Float32Array,
  kind: InputKind,
): Float32Array {
  const count = layout.totalQueries * heads * D
  if (kind === 'ties') return quarters(random, count)
  if (kind === 'steep') return integers(random, count, 32)
  const q = normals(random, count)
  if (kind !== 'trained') return q
  for (let sequence = 0; sequence < layout.sequences; sequence++) {
    for (let row = layout.queryStarts[sequence]; row < layout.queryStarts[sequence + 1]; row++) {
      for (let head = 0; head < heads; head++) {
        const target = layout.keyStarts[sequence] + random.below(layout.keyLengths[sequence])
        const kvHead = Math.floor((head * kvHeads) / heads)
        for (let d = 0; d < D; d++) q[(row * heads + head) * D + d] += k[(target * kvHeads + kvHead) * D + d]
      }
    }
  }
  return q
}

/** Multiples of 1/4 up to 1: sums and products of them are exact in every tested type. */
function quarters(random: RandomStream, count: number): Float32Array {
  return integers(random, count, 4).map((value) => value / 4)
}

/** From -largest to largest, all as likely. */
function integers(random: RandomStream, count: number, largest: number): Float32Array {
  return Float32Array.from({ length: count }, () => random.below(2 * largest + 1) - largest)
}

function repeatRow(row: Float32Array, times: number): Float32Array {
  return Float32Array.from({ length: row.length * times }, (_, index) => row[index % row.length])
}
