/** The token that a key leads to; undefined for keys that do not move. */
export function moveQuery(key: string, query: number, tokens: number, blockSize: number): number | undefined {
  const steps: Readonly<Record<string, number>> = {
    ArrowLeft: query - 1,
    ArrowRight: query + 1,
    ArrowUp: query - blockSize,
    ArrowDown: query + blockSize,
    PageUp: query - 8 * blockSize,
    PageDown: query + 8 * blockSize,
    Home: 0,
    End: tokens - 1,
  }
  if (!Object.hasOwn(steps, key)) return undefined
  return Math.min(tokens - 1, Math.max(0, steps[key]))
}
