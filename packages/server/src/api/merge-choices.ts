/** A value of one of several sources. */
export interface MergedValue<T> {
  /** Which source. */
  readonly index: number
  readonly value: T
}

/**
 * Values of several sources as they come. The first error is thrown; then, and when the reader leaves, every source is ended before this returns.
 * @param abort makes sources end that wait for something; called once, whenever this ends
 */
export async function* mergeChoices<T>(
  sources: readonly AsyncIterable<T>[],
  abort: () => void,
): AsyncGenerator<MergedValue<T>, void, undefined> {
  const iterators = sources.map((source) => source[Symbol.asyncIterator]())
  const next = async (index: number) => ({ index, result: await iterators[index].next() })
  const waiting = new Map(iterators.map((_, index) => [index, next(index)]))
  try {
    while (waiting.size > 0) {
      const { index, result } = await Promise.race(waiting.values())
      if (result.done) {
        waiting.delete(index)
        continue
      }
      waiting.set(index, next(index))
      yield { index, value: result.value }
    }
  } finally {
    abort()
    // Awaited, so that nothing of this request runs on, and settled, because the first error is the one to throw.
    await Promise.allSettled([...waiting.values(), ...iterators.map((iterator) => iterator.return?.())])
  }
}
