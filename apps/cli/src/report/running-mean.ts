/** Exponential running mean without the pull of its start. @param memory share of the past, 0 to 1 */
export function runningMean(values: readonly number[], memory: number): number[] {
  let sum = 0
  let weight = 0
  return values.map((value) => {
    sum = sum * memory + value * (1 - memory)
    weight = weight * memory + (1 - memory)
    return sum / weight
  })
}
