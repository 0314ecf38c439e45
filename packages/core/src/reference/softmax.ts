/** log(sum(exp(scores))), -Infinity for none. */
export function logSumExp(scores: Float64Array): number {
  let largest = Number.NEGATIVE_INFINITY
  for (const score of scores) largest = Math.max(largest, score)
  if (largest === Number.NEGATIVE_INFINITY) return largest
  let sum = 0
  for (const score of scores) sum += Math.exp(score - largest)
  return largest + Math.log(sum)
}

/** exp(scores) / sum(exp(scores)), a new array. */
export function softmax(scores: Float64Array): Float64Array {
  const total = logSumExp(scores)
  return scores.map((score) => Math.exp(score - total))
}
