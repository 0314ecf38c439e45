import {
  attentionSpec,
  densePolicy,
  PackedLayout,
  type PhsaConfig,
  phsaAttention,
  phsaPolicy,
  RandomStream,
  type SelectionPolicy,
  type Tensor,
  uploadLayout,
  uploadTokenWeights,
} from '@phsa/core'
import type { DecoderModel } from '@phsa/model'
import type { TimedLength } from '../lab-contract.js'

/** Runs of one figure: the first prepares kernels and is not counted. */
const RUNS = 4
/** Every twelfth token is punctuation, about as often as in prose. */
const MARK_EVERY = 12

/**
 * Times one layer of the model's attention on random queries, keys and values, sparse and dense, until the results are on the host.
 * @param withDense false leaves dense attention out
 */
export async function timeAttention(model: DecoderModel, phsa: PhsaConfig, length: number, withDense: boolean): Promise<TimedLength> {
  const { backend, config } = model
  const { memory } = backend
  const random = new RandomStream(length)
  const draw = (heads: number): Tensor =>
    memory.upload(
      Float32Array.from({ length: length * heads * config.headDim }, () => random.uniform() - 0.5),
      [length, heads, config.headDim],
    )
  const tensors = { q: draw(config.heads), k: draw(config.kvHeads), v: draw(config.kvHeads) }
  const packed = new PackedLayout([length], phsa.blockSize)
  const marks = Uint8Array.from({ length }, (_, token) => (token % MARK_EVERY === MARK_EVERY - 1 ? 1 : 0))
  const spec = attentionSpec(phsa, { ...config, dtype: model.dtype })

  const once = async (policy: SelectionPolicy): Promise<number> => {
    const started = performance.now()
    const lse = memory.scope(() => {
      const weights = uploadTokenWeights(memory, phsa, config, marks, packed).forLayer(0)
      return phsaAttention(backend, { ...tensors, weights, layout: uploadLayout(memory, packed), spec }, policy).lse
    })
    try {
      await memory.download(lse)
    } finally {
      lse.dispose()
    }
    return performance.now() - started
  }
  const median = async (policy: SelectionPolicy): Promise<number> => {
    const times: number[] = []
    for (let run = 0; run < RUNS; run++) times.push(await once(policy))
    const [, ...counted] = times
    return counted.sort((a, b) => a - b)[Math.floor(counted.length / 2)]
  }
  try {
    return { length, sparse: await median(phsaPolicy), dense: withDense ? await median(densePolicy) : undefined }
  } finally {
    for (const tensor of Object.values(tensors)) tensor.dispose()
  }
}
