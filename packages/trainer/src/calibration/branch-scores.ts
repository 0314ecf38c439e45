import {
  type AttentionSpec,
  branchWeights,
  derivedDType,
  type HostArray,
  type Layout,
  type ModelBackend,
  type PackedLayout,
  type Tensor,
} from '@phsa/core'

/** q and k of one layer's dense forward, and the queries that are measured. */
export interface LayerSample {
  /** [T, Hq, D] and [T, Hkv, D]. */
  readonly q: Tensor
  readonly k: Tensor
  readonly layout: Layout
  readonly packed: PackedLayout
  /** Query rows, `[n]`. */
  readonly rows: Int32Array
  readonly spec: AttentionSpec
}

/** Scores of the sampled queries against both branches of every sub-block: what all lambdas are made from. */
export interface BranchScores {
  /** `[n, G, subBlocks]`, scaled: q . Mo and q . Mp (spec 3, 4). */
  readonly global: HostArray
  readonly punctuation: HostArray
  /** Sub-blocks of the whole layout. */
  readonly subBlocks: number
}

/** Token weights of both branches of a batch, on the device; the caller disposes them. */
export interface BranchTensors {
  readonly representatives: number
  readonly global: Tensor
  readonly punctuation: Tensor
}

/** Uploads the weights of both branches of a batch (spec 3). @param marks one byte a token, [T] */
export function uploadBranches({ memory }: ModelBackend, marks: Uint8Array, packed: PackedLayout, representatives: number): BranchTensors {
  const { global, punctuation } = branchWeights(marks, packed, representatives)
  const shape = [packed.totalTokens]
  return { representatives, global: memory.upload(global, shape), punctuation: memory.upload(punctuation, shape) }
}

/** Representatives of both branches, each [Hkv, blocks * r, D]; the caller disposes them. */
export function branchRepresentatives(backend: ModelBackend, sample: LayerSample, branches: BranchTensors): BranchTensors {
  const { k, layout } = sample
  const spec = { ...sample.spec, representatives: branches.representatives }
  const pool = (weights: Tensor) => backend.attention.poolBlocks({ k, weights: { kind: 'fused', weights }, layout, spec })
  return { representatives: branches.representatives, global: pool(branches.global), punctuation: pool(branches.punctuation) }
}

/** Scores of the sampled queries of one KV head against the representatives of both branches. */
export async function branchScores(
  backend: ModelBackend,
  sample: LayerSample,
  representatives: BranchTensors,
  head: number,
): Promise<BranchScores> {
  const subBlocks = representatives.global.shape[1]
  const first = head * subBlocks
  const ids = Int32Array.from({ length: subBlocks }, (_, index) => first + index)
  const score = (reps: Tensor) => headScores(backend, sample, head, reps, ids)
  const [global, punctuation] = await Promise.all([score(representatives.global), score(representatives.punctuation)])
  return { global, punctuation, subBlocks }
}

/** Scores of the sampled queries of one KV head against every key: `[n, G, Tk]`, scaled, also of keys that a query does not see. */
export function keyScores(backend: ModelBackend, sample: LayerSample, head: number): Promise<HostArray> {
  const [tokens, kvHeads] = sample.k.shape
  return headScores(
    backend,
    sample,
    head,
    sample.k,
    Int32Array.from({ length: tokens }, (_, token) => token * kvHeads + head),
  )
}

/** @param ids rows of `table` as a list of vectors of D that the head's queries are compared with, [m] */
async function headScores(
  { memory, ops }: ModelBackend,
  { q, rows, spec }: LayerSample,
  head: number,
  table: Tensor,
  ids: Int32Array,
): Promise<HostArray> {
  const { heads, kvHeads, headDim } = spec
  const group = heads / kvHeads
  const queries = Int32Array.from({ length: rows.length * group }, (_, index) => {
    return rows[Math.floor(index / group)] * heads + head * group + (index % group)
  })
  const vectors = (tensor: Tensor, chosen: Int32Array) => {
    const all = memory.reshape(tensor, [tensor.shape[0] * tensor.shape[1], headDim])
    const picked = ops.embedding(all, memory.upload(chosen, [chosen.length]))
    const dtype = derivedDType(picked.dtype)
    if (picked.dtype === dtype) return picked
    // Representatives are f32 where q and k have 16 bits, and a product takes two of a kind.
    const wide = memory.alloc(picked.shape, dtype)
    memory.copy(picked, wide)
    return wide
  }
  const product = memory.scope(() => ops.linear(vectors(q, queries), vectors(table, ids)))
  try {
    const scores = await memory.download(product)
    const scale = 1 / Math.sqrt(headDim)
    for (let index = 0; index < scores.length; index++) scores[index] *= scale
    return scores
  } finally {
    product.dispose()
  }
}
