import {
  type DType,
  densePolicy,
  elementCount,
  type HostArray,
  type Memory,
  type ModelBackend,
  phsaConfig,
  phsaPolicy,
  RandomStream,
  ReferenceBackend,
  type Tensor,
} from '@phsa/core'
import { boundedCheck, MODEL_TOLERANCE, relativeError, type TensorCheck } from '@phsa/core/testing'
import {
  type AttentionChoice,
  type DecoderConfig,
  DecoderModel,
  defaultPageTokens,
  PagedDecoder,
  parameterShapes,
  type TokenBatch,
} from '@phsa/model'
import { topicBatch } from './bench-weights.js'
import { uploadPromptChunk } from './paged-steps.js'

/** A model that the reference runs in a second, with the head dimension that the fast kernels take. */
const CONFIG: DecoderConfig = {
  vocabSize: 64,
  hiddenSize: 32,
  intermediateSize: 48,
  layers: 2,
  heads: 2,
  kvHeads: 1,
  headDim: 128,
  rmsNormEpsilon: 1e-6,
  ropeTheta: 1e6,
  maxPositions: 128,
  tieWordEmbeddings: true,
  eosTokenIds: [],
}
const LENGTH = 70
/** Where the paged form takes its second chunk from. */
const SPLIT = 37
/** Every block that is not forced is chosen, so that both choose the same; the choice itself is what the conformance suite compares. */
const PHSA = phsaConfig({ blockSize: 16, initTokens: 16, localTokens: 32, topK: 16 })
/** Rounding in another order is about as far from the truth as the reference's own rounding. */
const ROUNDINGS = 2

/** What is compared, by name. */
type Results = Readonly<Record<string, HostArray>>

/** Compares a small random model with the reference, dense and sparse, in each type: loss, gradients, and the last token's logits, packed and paged. */
export async function checkModel(backend: ModelBackend, dtypes: readonly DType[] = ['f32', 'bf16']): Promise<TensorCheck[]> {
  const reference = new ReferenceBackend()
  try {
    const checks: TensorCheck[] = []
    for (const policy of [densePolicy, phsaPolicy]) {
      const exact = await compute(reference, 'f32', { policy, phsa: PHSA })
      for (const dtype of dtypes) {
        const rounded = dtype === 'f32' ? exact : await compute(reference, dtype, { policy, phsa: PHSA })
        const actual = await compute(backend, dtype, { policy, phsa: PHSA })
        for (const [what, values] of Object.entries(actual)) {
          const bound = MODEL_TOLERANCE + ROUNDINGS * relativeError(rounded[what], exact[what])
          checks.push(boundedCheck(`${dtype} ${policy.name} ${what}`, relativeError(values, exact[what]), bound))
        }
      }
    }
    return checks
  } finally {
    reference.dispose()
  }
}

async function compute(backend: ModelBackend, dtype: DType, choice: AttentionChoice): Promise<Results> {
  const { memory } = backend
  const model = new DecoderModel({ config: CONFIG, backend, phsa: PHSA, dtype }, strongWeights(memory, dtype))
  const gradients = model.allocGradients()
  const batch = topicBatch(LENGTH, CONFIG.vocabSize, 1)
  const made: Tensor[] = [...gradients.values()]
  try {
    const { loss, tokenLosses } = model.lossAndGradients(batch, choice, gradients)
    const logits = model.logits(batch, choice, Int32Array.of(LENGTH - 1))
    const paged = pagedLogits(model, batch, choice)
    made.push(loss, tokenLosses, logits, paged)
    const [sum, each, packed, chunked, ...parts] = await Promise.all(
      [loss, tokenLosses, logits, paged, ...gradients.values()].map((tensor) => memory.download(tensor)),
    )
    const joined = (arrays: readonly HostArray[]) => Float32Array.from(arrays.flatMap((array) => [...array]))
    return { losses: joined([sum, each]), logits: packed, 'paged logits': chunked, gradients: joined(parts) }
  } finally {
    for (const tensor of made) tensor.dispose()
    model.dispose()
  }
}

/** Weights that keep the variance of what they multiply, so that every operation shows in the result; those of a fresh model are too small for that. */
function strongWeights(memory: Memory, dtype: DType): Map<string, Tensor> {
  const random = new RandomStream(3)
  const upload = (name: string, shape: readonly number[]) => {
    const deviation = 1 / Math.sqrt(CONFIG.hiddenSize)
    const values = Float32Array.from({ length: elementCount(shape) }, () => (name.includes('norm') ? 1 : deviation * random.normal()))
    return memory.upload(values, shape, dtype)
  }
  return new Map([...parameterShapes(CONFIG)].map(([name, shape]) => [name, upload(name, shape)]))
}

/** The same through the paged cache, in two chunks of no multiple of the block size. */
function pagedLogits(model: DecoderModel, { ids, punctuation }: TokenBatch, attention: AttentionChoice): Tensor {
  const { memory } = model.backend
  const pageTokens = defaultPageTokens(PHSA.blockSize)
  const pages = Math.ceil(LENGTH / pageTokens)
  const decoder = new PagedDecoder(model, { attention, pages, pageTokens })
  const table = Int32Array.from({ length: pages }, (_, page) => page)
  try {
    return memory.scope(() => {
      const chunk = (start: number, end: number) =>
        decoder.advance(
          uploadPromptChunk(memory, { ids: ids.subarray(start, end), punctuation: punctuation.subarray(start, end), start, table }, PHSA),
        )
      chunk(0, SPLIT)
      return decoder.logits(chunk(SPLIT, LENGTH), memory.upload(Int32Array.of(LENGTH - SPLIT - 1), [1]))
    })
  } finally {
    decoder.dispose()
  }
}
