import { PassThrough } from 'node:stream'
import { expect, test } from 'vitest'
import { isLive } from '../src/terminal/is-live.js'
import { startProgress } from '../src/terminal/progress.js'

function plainProgress(total: number): { lines: () => string[]; progress: ReturnType<typeof startProgress>; clock: { time: number } } {
  const stream = new PassThrough()
  let written = ''
  stream.on('data', (chunk: Buffer) => {
    written += chunk.toString()
  })
  const clock = { time: 0 }
  const progress = startProgress({ label: 'work', total, stream: stream as unknown as NodeJS.WriteStream, now: () => clock.time })
  return { lines: () => written.split('\n').filter(Boolean), progress, clock }
}

test('without a terminal a line comes every ten seconds, and the last one', () => {
  const { lines, progress, clock } = plainProgress(100)
  for (let done = 1; done <= 100; done++) {
    clock.time += 500
    progress.update(done, `loss ${done}`)
  }
  progress.stop()
  expect(lines()).toEqual([
    'work: 1/100, 50s left | loss 1',
    'work: 21/100, 40s left | loss 21',
    'work: 41/100, 30s left | loss 41',
    'work: 61/100, 20s left | loss 61',
    'work: 81/100, 10s left | loss 81',
    'work: 100/100, took 50s | loss 100',
  ])
})

test('a resumed run counts the time left from its own steps', () => {
  const { lines, progress, clock } = plainProgress(100)
  clock.time = 1000
  progress.update(91)
  expect(lines()).toEqual(['work: 91/100, 9s left'])
})

test('control characters need a terminal that nobody asked to keep plain', () => {
  expect(isLive({ isTTY: true }, {})).toBe(true)
  expect(isLive({ isTTY: false }, {})).toBe(false)
  expect(isLive({ isTTY: true }, { NO_COLOR: '1' })).toBe(false)
  expect(isLive({ isTTY: true }, { TERM: 'dumb' })).toBe(false)
})
