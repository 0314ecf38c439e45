import type { ModelBackend } from '../../contract/model-backend.js'
import type { DType } from '../../contract/tensor.js'
import { Probe } from '../probe.js'
import { rounded } from '../rounded.js'
import { identityCheck, type TensorCheck } from '../tensor-check.js'

interface Draw {
  readonly what: string
  readonly temperature: number
  readonly topK?: number
  readonly topP?: number
  readonly minP?: number
  readonly uniform: number
  readonly logits: readonly number[]
  readonly expected: number
}

/** Probabilities 1/16, 1/2, 1/8, 1/4, 1/16: in order of probability ids 1, 3, 2, 0, 4. Uniform numbers keep well off the edges. */
const HALVES = [1, 8, 2, 4, 1].map(Math.log)
/** All the same: the order is by id. */
const EQUAL = [0, 0, 0, 0, 0]

const DRAWS: readonly Draw[] = [
  { what: 'greedy', temperature: 0, uniform: 0.9, logits: HALVES, expected: 1 },
  { what: 'greedy, equal ones', temperature: 0, uniform: 0.9, logits: EQUAL, expected: 0 },
  { what: 'greedy, two best', temperature: 0, uniform: 0.9, logits: [1, 5, 2, 5, 0], expected: 1 },
  { what: 'all, first', temperature: 1, uniform: 0, logits: HALVES, expected: 1 },
  { what: 'all, second', temperature: 1, uniform: 0.6, logits: HALVES, expected: 3 },
  { what: 'all, third', temperature: 1, uniform: 0.8, logits: HALVES, expected: 2 },
  { what: 'all, lower id of equal ones', temperature: 1, uniform: 0.9, logits: HALVES, expected: 0 },
  { what: 'all, last', temperature: 1, uniform: 0.999, logits: HALVES, expected: 4 },
  { what: 'equal ones, by id', temperature: 1, uniform: 0.5, logits: EQUAL, expected: 2 },
  { what: 'topK 1', temperature: 1, topK: 1, uniform: 0.99, logits: HALVES, expected: 1 },
  { what: 'topK 2, shares of two thirds and one', temperature: 1, topK: 2, uniform: 0.6, logits: HALVES, expected: 1 },
  { what: 'topK 2, second', temperature: 1, topK: 2, uniform: 0.7, logits: HALVES, expected: 3 },
  { what: 'topK 2 of equal ones', temperature: 1, topK: 2, uniform: 0.9, logits: EQUAL, expected: 1 },
  { what: 'topK beyond the vocabulary', temperature: 1, topK: 50, uniform: 0.999, logits: HALVES, expected: 4 },
  { what: 'topP 0.7 keeps two', temperature: 1, topP: 0.7, uniform: 0.99, logits: HALVES, expected: 3 },
  { what: 'topP 0.8 keeps three', temperature: 1, topP: 0.8, uniform: 0.99, logits: HALVES, expected: 2 },
  { what: 'topP 0 keeps one', temperature: 1, topP: 0, uniform: 0.99, logits: HALVES, expected: 1 },
  { what: 'topP 0.6 of the mass that topK 2 kept is one', temperature: 1, topK: 2, topP: 0.6, uniform: 0.9, logits: HALVES, expected: 1 },
  { what: 'minP 0.4 keeps two', temperature: 1, minP: 0.4, uniform: 0.99, logits: HALVES, expected: 3 },
  { what: 'minP 1 keeps the best', temperature: 1, minP: 1, uniform: 0.99, logits: [0, 3, 1, 2, 0], expected: 1 },
  { what: 'temperature 1/2 squares', temperature: 0.5, uniform: 0.7, logits: HALVES, expected: 1 },
  { what: 'temperature 2, roots', temperature: 2, uniform: 0.3, logits: HALVES, expected: 1 },
  { what: 'temperature 2, roots, second', temperature: 2, uniform: 0.5, logits: HALVES, expected: 3 },
  {
    what: 'masked ids',
    temperature: 1,
    uniform: 0.999,
    logits: [0, Number.NEGATIVE_INFINITY, 0, Number.NEGATIVE_INFINITY, 0],
    expected: 4,
  },
  { what: 'large logits', temperature: 1, uniform: 0.3, logits: [1000, 1000, 0, 0, 0], expected: 0 },
]

/** Draws whose outcome follows from the definition; one call with all of them as rows. */
export async function checkSample(backend: ModelBackend, dtype: DType): Promise<TensorCheck[]> {
  const probe = new Probe(backend)
  try {
    const logits = rounded(Float32Array.from(DRAWS.flatMap((draw) => [...draw.logits])), dtype)
    const control = Float32Array.from(
      DRAWS.flatMap(({ temperature, topK = 0, topP = 1, minP = 0, uniform }) => [temperature, topK, topP, minP, uniform]),
    )
    const inputs = [
      probe.input('logits', logits, [DRAWS.length, EQUAL.length], dtype),
      probe.input('control', control, [DRAWS.length, 5], 'f32'),
    ] as const
    const { ids } = await probe.call(() => ({ ids: backend.ops.sample(...inputs) }))
    const checks = DRAWS.map(({ what, expected }, index) => identityCheck(what, ids.slice(index, index + 1), Int32Array.of(expected)))
    return [...checks, ...(await probe.canaries())]
  } finally {
    probe.dispose()
  }
}
