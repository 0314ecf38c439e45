import {
  attentionSpec,
  PackedLayout,
  type PhsaConfig,
  phsaAttention,
  phsaAttentionBackward,
  RandomStream,
  reference,
  uploadLayout,
  uploadTokenWeights,
} from '@phsa/core'

/** One call on a padded batch, on the host: q, o and dOut [batch, length, heads, D], k and v [batch, length, kvHeads, D]. */
export interface BatchProblem {
  readonly batch: number
  readonly length: number
  readonly heads: number
  readonly kvHeads: number
  readonly headDim: number
  readonly lengths: readonly number[]
  /** One byte a token, [batch, length]. */
  readonly punctuation: Uint8Array
  readonly q: Float32Array
  readonly k: Float32Array
  readonly v: Float32Array
  readonly dOut: Float32Array
}

/** A problem drawn at random; every sixth token is punctuation or so. */
export function batchProblem(
  extents: Pick<BatchProblem, 'batch' | 'length' | 'heads' | 'kvHeads' | 'headDim'>,
  lengths?: readonly number[],
): BatchProblem {
  const { batch, length, heads, kvHeads, headDim } = extents
  const random = new RandomStream(11)
  const normal = (count: number) => Float32Array.from({ length: batch * length * count * headDim }, () => random.normal())
  return {
    ...extents,
    lengths: lengths ?? new Array<number>(batch).fill(length),
    punctuation: Uint8Array.from({ length: batch * length }, () => (random.below(6) === 0 ? 1 : 0)),
    q: normal(heads),
    k: normal(kvHeads),
    v: normal(kvHeads),
    dOut: normal(heads),
  }
}

/** What the float64 reference of core computes row by row, zeros where a row is padding. */
export async function referenceAttention(
  problem: BatchProblem,
  config: PhsaConfig,
): Promise<Record<'o' | 'dq' | 'dk' | 'dv', Float32Array>> {
  const { batch, length, heads, kvHeads, headDim, lengths } = problem
  const backend = await reference()
  const { memory } = backend
  const spec = attentionSpec(config, { heads, kvHeads, headDim, dtype: 'f32' })
  const zeros = (count: number) => new Float32Array(batch * length * count * headDim)
  const results = { o: zeros(heads), dq: zeros(heads), dk: zeros(kvHeads), dv: zeros(kvHeads) }
  for (let row = 0; row < batch; row++) {
    const tokens = lengths[row]
    const part = (values: Float32Array, count: number) => {
      const start = row * length * count * headDim
      return memory.upload(values.slice(start, start + tokens * count * headDim), [tokens, count, headDim])
    }
    const packed = new PackedLayout([tokens], spec.blockSize)
    const marks = problem.punctuation.slice(row * length, row * length + tokens)
    const input = {
      q: part(problem.q, heads),
      k: part(problem.k, kvHeads),
      v: part(problem.v, kvHeads),
      weights: uploadTokenWeights(memory, config, { layers: 1, kvHeads }, marks, packed).forLayer(0),
      layout: uploadLayout(memory, packed),
      spec,
    }
    const output = phsaAttention(backend, input)
    const gradients = phsaAttentionBackward(backend, part(problem.dOut, heads), input, output)
    for (const [name, tensor] of Object.entries({ o: output.out, ...gradients })) {
      const count = tensor.shape[1]
      results[name as keyof typeof results].set((await memory.download(tensor)) as Float32Array, row * length * count * headDim)
    }
  }
  backend.dispose()
  return results
}
