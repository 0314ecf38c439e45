import { densePolicy, type Memory, type ModelBackend, type PhsaConfig, phsaPolicy, RandomStream } from '@phsa/core'
import { MODEL_TOLERANCE, relativeCheck, type TensorCheck } from '@phsa/core/testing'
import { DecoderModel, defaultPageTokens, PagedDecoder, type PagedStep } from '@phsa/model'
import type { BenchContext } from './bench-case.js'
import type { BenchModel, Sparsity } from './bench-model.js'
import { evaluated } from './evaluated.js'

/** Tokens of each step: a prompt in two chunks that end inside of blocks, past the model's windows, then single tokens. */
const CHUNKS = [70, 39, 1, 1, 1]
const PAGES = 2

/**
 * Logits after every token of a prompt in chunks and of single tokens, against float64 (spec 11). Greedy ids would say little: with fresh weights the
 * likeliest token hardly depends on what was read.
 */
export async function checkGeneration({ backend, reference }: BenchContext, model: BenchModel, sparsity: Sparsity): Promise<TensorCheck[]> {
  const expected = await logitsOf(reference, 'f64', model, sparsity)
  const actual = await logitsOf(backend, 'f32', model, sparsity)
  return Object.keys(expected).map((name) => relativeCheck(name, actual[name], expected[name], MODEL_TOLERANCE))
}

async function logitsOf(backend: ModelBackend, dtype: 'f32' | 'f64', { config, phsa }: BenchModel, sparsity: Sparsity) {
  const model = DecoderModel.create({ config, backend, phsa, dtype, seed: 1 })
  const random = new RandomStream(5)
  const pageTokens = Math.max(64, defaultPageTokens(phsa.blockSize))
  const attention = { policy: sparsity === 'dense' ? densePolicy : phsaPolicy, phsa }
  let decoder: PagedDecoder | undefined
  try {
    const opened = new PagedDecoder(model, { attention, pages: PAGES, pageTokens })
    decoder = opened
    return await evaluated(backend, () => {
      let start = 0
      return Object.fromEntries(
        CHUNKS.map((count) => {
          const ids = Int32Array.from({ length: count }, () => random.below(config.vocabSize))
          const hidden = opened.advance(uploadStep(backend.memory, ids, start, phsa))
          start += count
          return [`logits up to token ${start}`, opened.logits(hidden, backend.memory.upload(positions(0, count), [count]))]
        }),
      )
    })
  } finally {
    decoder?.dispose()
    model.dispose()
  }
}

/** Tokens of one sequence that owns all pages; every sixth is punctuation. */
function uploadStep(memory: Memory, ids: Int32Array, start: number, { topK, denseBelow }: PhsaConfig): PagedStep {
  const count = ids.length
  const integers = (...values: number[]) => memory.upload(Int32Array.from(values), [values.length])
  return {
    ids: memory.upload(ids, [count]),
    positions: memory.upload(positions(start, count), [count]),
    marks: memory.upload(
      Float32Array.from(positions(start, count), (position) => (position % 6 === 0 ? 1 : 0)),
      [count],
    ),
    batch: {
      sequences: 1,
      queryTokens: count,
      maxQueries: count,
      maxKeys: start + count,
      maxTopK: topK,
      queryStarts: integers(0, count),
      keyLengths: integers(start + count),
      pageTable: memory.upload(positions(0, PAGES), [1, PAGES]),
      topK: integers(topK),
      denseBelow: integers(denseBelow),
    },
  }
}

function positions(start: number, count: number): Int32Array {
  return Int32Array.from({ length: count }, (_, index) => start + index)
}
