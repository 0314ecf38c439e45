import {
  type AttentionSpec,
  attentionSpec,
  blockDistillation,
  branchWeights,
  type ModelBackend,
  PackedLayout,
  type PagedBatch,
  phsaAttention,
  phsaAttentionBackward,
  phsaConfig,
  RandomStream,
  type Tensor,
  uploadLayout,
} from '@phsa/core'

/** Two sequences. */
const LENGTHS = [30, 14]
const TOKENS = 44
const WIDTH = 16
const IDS = 11
const EPSILON = 1e-6
const spec: AttentionSpec = attentionSpec(phsaConfig({ blockSize: 8, initTokens: 8, localTokens: 16, topK: 1 }), {
  heads: 2,
  kvHeads: 1,
  headDim: 8,
  dtype: 'f32',
})

/** A step of a one-layer decoder as a trainer makes it: forward, backward with block distillation and a learned lambda, update. Returns the loss. */
export function trainingStep(backend: ModelBackend): () => Tensor {
  const { memory, ops } = backend
  const random = new RandomStream(3)
  const parameter = (shape: readonly number[], draw = () => random.normal() * 0.3) => {
    const length = shape.reduce((product, extent) => product * extent, 1)
    const value = memory.upload(Float32Array.from({ length }, draw), shape)
    const [gradient, mean, variance] = [0, 1, 2].map(() => memory.alloc(shape, 'f32'))
    return { value, gradient, mean, variance, weightDecay: 0 }
  }
  const ones = () => 1
  const [attentionNorm, mlpNorm, finalNorm] = [0, 1, 2].map(() => parameter([WIDTH], ones))
  const [queryNorm, keyNorm] = [0, 1].map(() => parameter([spec.headDim], ones))
  const [embedding, query, key, value, output, gate, up, down] = [IDS, 16, 8, 8, 16, 16, 16, 16].map((rows) => parameter([rows, WIDTH]))
  const lambda = parameter([spec.kvHeads], () => 0.5)
  const parameters = [attentionNorm, mlpNorm, finalNorm, queryNorm, keyNorm, embedding, query, key, value, output, gate, up, down, lambda]

  const integers = (length: number, of: (index: number) => number) =>
    memory.upload(
      Int32Array.from({ length }, (_, at) => of(at)),
      [length],
    )
  const packed = new PackedLayout(LENGTHS, spec.blockSize)
  const layout = uploadLayout(memory, packed)
  const ids = integers(TOKENS, () => random.below(IDS))
  const rows = integers(4, (index) => [24, 27, 29, -1][index])
  const positions = integers(TOKENS, (row) => (row < LENGTHS[0] ? row : row - LENGTHS[0]))
  const angles = Float32Array.from({ length: LENGTHS[0] * 4 }, (_, at) => Math.floor(at / 4) / 10 ** (at % 4))
  const rope = { cos: memory.upload(angles.map(Math.cos), [LENGTHS[0], 4]), sin: memory.upload(angles.map(Math.sin), [LENGTHS[0], 4]) }
  const branches = branchWeights(
    Uint8Array.from({ length: TOKENS }, (_, at) => (at % 5 ? 0 : 1)),
    packed,
  )
  const weights = {
    kind: 'branches',
    global: memory.upload(branches.global, [TOKENS]),
    punctuation: memory.upload(branches.punctuation, [TOKENS]),
    lambda: lambda.value,
  } as const
  const lossWeights = memory.upload(new Float32Array(TOKENS).fill(1 / TOKENS), [TOKENS])
  const control = memory.upload(Float32Array.of(0.01, 0.1, 0.01), [3])
  const rowsOf = (tensor: Tensor) => memory.reshape(tensor, [TOKENS, tensor.shape[1] * tensor.shape[2]])

  return () =>
    memory.scope(() => {
      for (const { gradient } of parameters) memory.zero(gradient)
      const x = ops.embedding(embedding.value, ids)
      const normal = ops.rmsNorm(x, attentionNorm.value, EPSILON)
      const projected = (weight: Tensor, heads: number) => memory.reshape(ops.linear(normal, weight), [TOKENS, heads, spec.headDim])
      const turn = (weight: Tensor, heads: number, norm: Tensor) => ({
        x: projected(weight, heads),
        weight: norm,
        positions,
        rope,
        epsilon: EPSILON,
      })
      const queryInput = turn(query.value, spec.heads, queryNorm.value)
      const keyInput = turn(key.value, spec.kvHeads, keyNorm.value)
      const [q, k, v] = [ops.qkNormRope(queryInput), ops.qkNormRope(keyInput), projected(value.value, spec.kvHeads)]
      const input = { q, k, v, weights, layout, spec }
      const attended = phsaAttention(backend, input)
      const middle = ops.add(x, ops.linear(rowsOf(attended.out), output.value))
      const mlpInput = ops.rmsNorm(middle, mlpNorm.value, EPSILON)
      const [gated, raised] = [ops.linear(mlpInput, gate.value), ops.linear(mlpInput, up.value)]
      const inner = ops.swiglu(gated, raised)
      const last = ops.add(middle, ops.linear(inner, down.value))
      const hidden = ops.rmsNorm(last, finalNorm.value, EPSILON)
      const crossEntropy = { hidden, head: embedding.value, targets: ids, weights: lossWeights }
      const { loss, dHidden } = ops.crossEntropyBackward(crossEntropy, embedding.gradient)

      const dLast = ops.rmsNormBackward(dHidden, last, finalNorm.value, EPSILON, finalNorm.gradient)
      const { dGate, dUp } = ops.swigluBackward(ops.linearBackward(dLast, inner, down.value, down.gradient), gated, raised)
      const dMlp = ops.linearBackward(dGate, mlpInput, gate.value, gate.gradient)
      ops.linearBackward(dUp, mlpInput, up.value, up.gradient, dMlp)
      const dMiddle = ops.add(dLast, ops.rmsNormBackward(dMlp, middle, mlpNorm.value, EPSILON, mlpNorm.gradient))
      const dOut = memory.reshape(ops.linearBackward(dMiddle, rowsOf(attended.out), output.value, output.gradient), q.shape)
      const { dq, dk, dv } = phsaAttentionBackward(backend, dOut, input, attended)
      blockDistillation(backend, { q, k, weights, layout, spec, rows, coefficient: 0.1, dq, dk, dLambda: lambda.gradient })
      const dNormal = ops.linearBackward(rowsOf(dv), normal, value.value, value.gradient)
      const dProjectedQuery = ops.qkNormRopeBackward(dq, queryInput, queryNorm.gradient)
      const dProjectedKey = ops.qkNormRopeBackward(dk, keyInput, keyNorm.gradient)
      ops.linearBackward(rowsOf(dProjectedQuery), normal, query.value, query.gradient, dNormal)
      ops.linearBackward(rowsOf(dProjectedKey), normal, key.value, key.gradient, dNormal)
      const dx = ops.add(dMiddle, ops.rmsNormBackward(dNormal, x, attentionNorm.value, EPSILON, attentionNorm.gradient))
      ops.embeddingBackward(dx, ids, embedding.gradient)

      const gradients = parameters.map(({ gradient }) => gradient)
      ops.adamw(parameters, control, ops.gradientNorm(gradients, 1), { beta1: 0.9, beta2: 0.99, epsilon: 1e-8 })
      return loss
    })
}

/** Decodes one token of a cached sequence and samples; the same position each time, as after a rollback. Returns the sampled id. */
export function decodingStep(backend: ModelBackend): () => Tensor {
  const { memory, ops, paged } = backend
  const random = new RandomStream(4)
  const cache = paged.createCache({ spec, pages: 4, pageTokens: 16, lambda: memory.upload(Float32Array.of(0.5), [1]) })
  const integers = (values: number[], shape = [values.length]) => memory.upload(Int32Array.from(values), shape)
  const rows = (tokens: number, heads: number) => {
    const values = Float32Array.from({ length: tokens * heads * spec.headDim }, () => random.normal())
    return memory.upload(values, [tokens, heads, spec.headDim])
  }
  const batch = (queries: number, keys: number): PagedBatch => ({
    sequences: 1,
    queryTokens: queries,
    maxQueries: queries,
    maxKeys: keys,
    maxTopK: 1,
    queryStarts: integers([0, queries]),
    keyLengths: integers([keys]),
    pageTable: integers([2, 0, 3, 1], [1, 4]),
    topK: integers([1]),
    denseBelow: integers([0]),
  })
  paged.append(cache, rows(48, 1), rows(48, 1), memory.upload(new Float32Array(48), [48]), batch(48, 48))
  const [q, k, v] = [rows(1, spec.heads), rows(1, 1), rows(1, 1)]
  const [mark, step] = [memory.upload(Float32Array.of(1), [1]), batch(1, 49)]
  const control = memory.upload(Float32Array.of(1, 0, 0.9, 0, 0.5), [1, 5])
  return () =>
    memory.scope(() => {
      paged.append(cache, k, v, mark, step)
      const { out } = paged.attend(cache, q, paged.selectBlocks(cache, q, step), step)
      return ops.sample(memory.reshape(out, [1, spec.heads * spec.headDim]), control)
    })
}
