import { afterAll, expect, test } from 'vitest'
import { MOST_OPENING } from '../../src/constrain/text-constraint.js'
import { WorkerConstraints } from '../../src/constrain/worker-constraints.js'
import { QueueFullError } from '../../src/engine/queue-full-error.js'

// Its thread cannot run sources here, so that all that is opened fails; the commands of the README open some in a process that can.
const constraints = new WorkerConstraints({ tokenizerFolder: 'nowhere', vocabSize: 8 })
afterAll(() => constraints.close())

const openMany = (count: number) => Promise.allSettled(Array.from({ length: count }, () => constraints.open('root ::= "a"', [0])))

test('so many texts are opened at once, one more is refused; what fails gives its place back', async () => {
  for (let round = 0; round < 2; round++) {
    const reasons = (await openMany(MOST_OPENING + 1)).map((result) => result.status === 'rejected' && result.reason)
    expect(reasons.map((reason) => reason instanceof QueueFullError)).toEqual([...Array(MOST_OPENING).fill(false), true])
    expect(reasons.every((reason) => reason instanceof Error)).toBe(true)
  }
})

test('a thread that ends after another has started fails no text of that one', async () => {
  const failing = new WorkerConstraints({ tokenizerFolder: 'nowhere', vocabSize: 8 })
  const reasons: unknown[] = []
  for (let round = 0; round < 4; round++) reasons.push(await failing.open('root ::= "a"', [0]).catch(({ message }) => message))
  expect(reasons).toEqual(Array(4).fill(expect.stringContaining('constraint-worker')))
})
