import { isPhsaError } from '@phsa/core'

/**
 * Runs with the first of these amounts of scratch memory that the GPU has room for, and gives what `run` gives. After an OutOfMemoryError `run`
 * starts anew: what it queues may write nothing but scratch memory and results that it writes whole.
 * @param amounts bytes, the largest first
 * @throws OutOfMemoryError where there is no room for the last one either
 */
export function withinMemory<T>(amounts: readonly number[], run: (bytes: number) => T): T {
  const [bytes, ...smaller] = amounts
  if (smaller.length === 0) return run(bytes)
  try {
    return run(bytes)
  } catch (error) {
    if (!isPhsaError(error, 'out-of-memory')) throw error
    return withinMemory(smaller, run)
  }
}
