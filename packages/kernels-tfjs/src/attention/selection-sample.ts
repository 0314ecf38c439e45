/** One sampled query and KV head with at least one candidate block. */
export interface SelectionSample {
  /** q . M * scale of each head and candidate sub-block; a head's scores start at its offset. */
  readonly scores: Float32Array
  /** [G] */
  readonly headOffsets: readonly number[]
  /** T: teacher mass of each candidate block. */
  readonly teacher: Float32Array
  /** r */
  readonly representatives: number
}

/**
 * - sum(T log P) of one sample (spec 10). Kept in logarithms, so that no P is rounded to 0.
 * @param dScores where given, receives the gradients of the scores, times `factor`, at the same offsets
 */
export function sampleGradient(
  { scores, headOffsets, teacher, representatives }: SelectionSample,
  factor: number,
  dScores: Float32Array | undefined,
): number {
  const width = teacher.length * representatives
  const logTotals = headOffsets.map((offset) => logSumExp(scores, offset, offset + width))
  // log sum over heads and sub-blocks of p, for each block
  const logSums = new Float64Array(teacher.length)
  let loss = 0
  for (let block = 0; block < teacher.length; block++) {
    logSums[block] = blockLogSum(scores, headOffsets, logTotals, block * representatives, representatives)
    if (teacher[block] > 0) loss -= teacher[block] * (logSums[block] - Math.log(headOffsets.length))
  }
  if (!dScores) return loss
  for (const [head, offset] of headOffsets.entries()) {
    let answersTotal = 0
    for (let at = 0; at < width; at++) answersTotal += answer(at, head)
    for (let at = 0; at < width; at++) {
      dScores[offset + at] = (Math.exp(scores[offset + at] - logTotals[head]) * answersTotal - answer(at, head)) * factor
    }
  }
  return loss

  /** T[t] * p / (G P[t]): how much of its block's loss a sub-block of a head answers for. */
  function answer(at: number, head: number): number {
    const block = Math.floor(at / representatives)
    if (!(teacher[block] > 0)) return 0
    return teacher[block] * Math.exp(scores[headOffsets[head] + at] - logTotals[head] - logSums[block])
  }
}

function blockLogSum(scores: Float32Array, offsets: readonly number[], totals: readonly number[], first: number, count: number): number {
  let highest = Number.NEGATIVE_INFINITY
  for (const [head, offset] of offsets.entries()) {
    for (let at = first; at < first + count; at++) highest = Math.max(highest, scores[offset + at] - totals[head])
  }
  let sum = 0
  for (const [head, offset] of offsets.entries()) {
    for (let at = first; at < first + count; at++) sum += Math.exp(scores[offset + at] - totals[head] - highest)
  }
  return highest + Math.log(sum)
}

function logSumExp(values: Float32Array, first: number, end: number): number {
  let highest = Number.NEGATIVE_INFINITY
  for (let at = first; at < end; at++) highest = Math.max(highest, values[at])
  let sum = 0
  for (let at = first; at < end; at++) sum += Math.exp(values[at] - highest)
  return highest + Math.log(sum)
}
