import { expect, test } from 'vitest'
import { eventStream } from '../../src/api/event-stream.js'

/** Counts what is asked for, and notes its end. */
function counted() {
  const seen = { made: 0, ended: false, left: 0 }
  async function* pieces(): AsyncGenerator<string, void, undefined> {
    try {
      for (; seen.made < 100; seen.made++) yield `${seen.made};`
    } finally {
      seen.ended = true
    }
  }
  const stream = eventStream(pieces(), () => seen.left++)
  return { seen, stream }
}

test('a client that does not read stops the making, and one that leaves ends it', async () => {
  const { seen, stream } = counted()
  const reader = stream.getReader()
  await reader.read()
  await new Promise((resolve) => setTimeout(resolve, 5))
  // The piece that was read, and one that waits.
  expect(seen.made).toBeLessThanOrEqual(2)
  await reader.cancel()
  expect(seen).toMatchObject({ ended: true, left: 1 })
})

test('all pieces come, in order, and nobody is said to have left', async () => {
  const { seen, stream } = counted()
  expect(await new Response(stream).text()).toBe(Array.from({ length: 100 }, (_, index) => `${index};`).join(''))
  expect(seen).toMatchObject({ ended: true, left: 0 })
})
