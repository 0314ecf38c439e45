import { expect, test } from 'vitest'
import { mergeChoices } from '../../src/api/merge-choices.js'

/** A source that waits until it is told to go on, and notes that it was ended. */
function controlled(values: readonly string[], ended: string[], fails?: Error) {
  let allowed = 0
  let wake = () => {}
  const allow = (count: number) => {
    allowed += count
    wake()
  }
  async function* source() {
    try {
      for (const [index, value] of values.entries()) {
        while (allowed <= index) await new Promise<void>((resolve) => (wake = resolve))
        yield value
      }
      if (fails) throw fails
    } finally {
      ended.push(values.join(''))
    }
  }
  return { source: source(), allow }
}

test('values come as they are there, and none waits for another source', async () => {
  const ended: string[] = []
  const [slow, fast] = [controlled(['a'], ended), controlled(['b', 'c'], ended)]
  const merged = mergeChoices([slow.source, fast.source], () => undefined)
  fast.allow(1)
  expect((await merged.next()).value).toEqual({ index: 1, value: 'b' })
  fast.allow(1)
  expect((await merged.next()).value).toEqual({ index: 1, value: 'c' })
  slow.allow(1)
  expect((await merged.next()).value).toEqual({ index: 0, value: 'a' })
  expect((await merged.next()).done).toBe(true)
  expect(ended.sort()).toEqual(['a', 'bc'])
})

test('the first error is thrown, after every source was ended', async () => {
  const ended: string[] = []
  const [waiting, failing] = [controlled(['a', 'x'], ended), controlled(['b'], ended, new Error('broken'))]
  const merged = mergeChoices([waiting.source, failing.source], () => waiting.allow(2))
  failing.allow(1)
  expect((await merged.next()).value).toEqual({ index: 1, value: 'b' })
  await expect(merged.next()).rejects.toThrow('broken')
  expect(ended.sort()).toEqual(['ax', 'b'])
})

test('a reader that leaves ends every source', async () => {
  const ended: string[] = []
  const [one, other] = [controlled(['a', 'x'], ended), controlled(['b', 'y'], ended)]
  const merged = mergeChoices([one.source, other.source], () => {
    one.allow(2)
    other.allow(2)
  })
  one.allow(1)
  await merged.next()
  await merged.return()
  expect(ended.sort()).toEqual(['ax', 'by'])
})
