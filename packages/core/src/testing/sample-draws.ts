/** One row of logits, how to draw from it, and the id that must come out. */
export interface SampleDraw {
  readonly what: string
  readonly temperature: number
  readonly topK?: number
  readonly topP?: number
  readonly minP?: number
  readonly uniform: number
  readonly logits: ArrayLike<number>
  readonly expected: number
}

/** Probabilities 1/16, 1/2, 1/8, 1/4, 1/16: in order of probability ids 1, 3, 2, 0, 4. Uniform numbers keep well off the edges. */
const HALVES = [1, 8, 2, 4, 1].map(Math.log)
/** All the same: the order is by id. */
const EQUAL = [0, 0, 0, 0, 0]

/** Rows of five ids whose outcome follows from the definition. */
export const SAMPLE_DRAWS: readonly SampleDraw[] = [
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

/** More ids than one tile has; what can be drawn lies far apart, also in the last tile. */
const WIDE = 5003

/** Logits by id; every other id has no chance worth speaking of. */
function spread(logits: Readonly<Record<number, number>>): Float32Array {
  const row = new Float32Array(WIDE).fill(-60)
  for (const [id, logit] of Object.entries(logits)) row[Number(id)] = logit
  return row
}

/** Probabilities 1/16, 1/2, 1/8, 1/4 and 1/16 again. */
const FAR = spread({ 11: HALVES[0], 4999: HALVES[1], 1300: HALVES[2], 2750: HALVES[3], 5002: HALVES[4] })
/** Two best that are equal, and one behind them. */
const TWO_BEST = spread({ 40: 3, 1500: 5, 4800: 5 })
/** Forty equal ids, 0 to 4953. */
const FORTY = spread(Object.fromEntries(Array.from({ length: 40 }, (_, index) => [index * 127, 2])))

/** More equal ids than a list of candidates holds. */
const ALL_EQUAL = new Float32Array(WIDE).fill(3)
/** Ids with the same remainder are equal, a greater one is a little likelier: 800 values of seven bits each, all within a hundredth. */
const ALL_CLOSE = Float32Array.from({ length: WIDE }, (_, id) => (1 + ((id % 800) % 128) / 128) * 2 ** (Math.floor((id % 800) / 128) - 13))

/** The same kinds of draw over a wide row. */
export const WIDE_DRAWS: readonly SampleDraw[] = [
  { what: 'greedy', temperature: 0, uniform: 0.1, logits: FAR, expected: 4999 },
  { what: 'greedy, two best', temperature: 0, uniform: 0.9, logits: TWO_BEST, expected: 1500 },
  { what: 'all, first', temperature: 1, uniform: 0.4, logits: FAR, expected: 4999 },
  { what: 'all, second', temperature: 1, uniform: 0.6, logits: FAR, expected: 2750 },
  { what: 'all, third', temperature: 1, uniform: 0.8, logits: FAR, expected: 1300 },
  { what: 'all, lower id of equal ones', temperature: 1, uniform: 0.9, logits: FAR, expected: 11 },
  { what: 'all, last', temperature: 1, uniform: 0.98, logits: FAR, expected: 5002 },
  { what: 'topK 1', temperature: 1, topK: 1, uniform: 0.99, logits: FAR, expected: 4999 },
  { what: 'topK 1 of two best', temperature: 1, topK: 1, uniform: 0.99, logits: TWO_BEST, expected: 1500 },
  { what: 'topK 2 of two best', temperature: 1, topK: 2, uniform: 0.99, logits: TWO_BEST, expected: 4800 },
  { what: 'topK 3', temperature: 1, topK: 3, uniform: 0.99, logits: FAR, expected: 1300 },
  { what: 'topP 0.7 keeps two', temperature: 1, topP: 0.7, uniform: 0.99, logits: FAR, expected: 2750 },
  { what: 'minP 0.2 keeps three', temperature: 1, minP: 0.2, uniform: 0.99, logits: FAR, expected: 1300 },
  { what: 'equal ones, by id', temperature: 1, uniform: 24.5 / 40, logits: FORTY, expected: 24 * 127 },
  { what: 'equal ones, last', temperature: 1, uniform: 39.5 / 40, logits: FORTY, expected: 39 * 127 },
  { what: 'topK 33 of equal ones', temperature: 1, topK: 33, uniform: 32.5 / 33, logits: FORTY, expected: 32 * 127 },
  { what: 'topP of equal ones keeps 21', temperature: 1, topP: 20.5 / 40, uniform: 20.5 / 21, logits: FORTY, expected: 20 * 127 },
  { what: 'all equal', temperature: 1, uniform: 4321.5 / WIDE, logits: ALL_EQUAL, expected: 4321 },
  { what: 'topK 3000 of all equal', temperature: 1, topK: 3000, uniform: 2999.5 / 3000, logits: ALL_EQUAL, expected: 2999 },
  { what: 'topP of all equal keeps 2502', temperature: 1, topP: 2501.5 / WIDE, uniform: 2501.5 / 2502, logits: ALL_EQUAL, expected: 2501 },
  // 499 remainders of six ids each come before remainder 300, of which the sixth is 300 + 5 * 800.
  { what: 'topK 3000 of all close', temperature: 1, topK: 3000, uniform: 0.9999, logits: ALL_CLOSE, expected: 4300 },
  { what: 'all close, first', temperature: 1, uniform: 0.0001, logits: ALL_CLOSE, expected: 799 },
]
