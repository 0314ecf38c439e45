import { EventQueue } from '../port/event-queue.js'

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
  // Each source has one value on its way. No Promise.race of them: sources that wait would keep a reaction for each value of the others.
  const arrived = new EventQueue<{ index: number; result: IteratorResult<T> }>(
    sources.length,
    () => new Error('a source gave more values than it was asked for'),
  )
  const ask = async (index: number) => {
    try {
      arrived.push({ index, result: await iterators[index].next() })
    } catch (error) {
      arrived.fail(error)
    }
  }
  const asked = iterators.map((_, index) => ask(index))
  try {
    for (let open = iterators.length; open > 0; ) {
      const { index, result } = await arrived.next()
      if (result.done) {
        open--
        continue
      }
      asked[index] = ask(index)
      yield { index, value: result.value }
    }
  } finally {
    abort()
    // Awaited, so that nothing of this request runs on, and settled, because the first error is the one to throw.
    await Promise.allSettled([...asked, ...iterators.map((iterator) => iterator.return?.())])
  }
}
