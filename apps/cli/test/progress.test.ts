import { PassThrough } from 'node:stream'
import { expect, test } from 'vitest'
import { isLive } from '../src/terminal/is-live.js'
import { startProgress } from '../src/terminal/progress.js'
import { progressLine } from '../src/terminal/progress-line.js'
import { StepNote } from '../src/training/step-note.js'

function plainProgress(
  total: number,
  steady = false,
): { lines: () => string[]; progress: ReturnType<typeof startProgress>; clock: { time: number } } {
  const stream = new PassThrough()
  let written = ''
  stream.on('data', (chunk: Buffer) => {
    written += chunk.toString()
  })
  const clock = { time: 0 }
  const progress = startProgress({ label: 'work', total, steady, stream: stream as unknown as NodeJS.WriteStream, now: () => clock.time })
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

test('what is all counted before it is done says what it took once it is', () => {
  const { lines, progress, clock } = plainProgress(10)
  progress.update(10, '5 tokens')
  clock.time = 4000
  progress.update(10, '9 tokens')
  progress.stop()
  progress.stop()
  expect(lines()).toEqual(['work: 10/10 | 5 tokens', 'work: 10/10, took 4s | 9 tokens'])
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

test('the time left of steady steps follows their median: one that takes minutes does not move it, a new pace does', () => {
  const { lines, progress, clock } = plainProgress(1000, true)
  for (let done = 1; done <= 200; done++) {
    clock.time += done === 50 ? 300_000 : done <= 100 ? 1000 : 2000
    progress.update(done)
  }
  const left = lines().map((line) => /(\d+)\/1000, (.*) left/.exec(line)?.slice(1))
  expect(left).toContainEqual(['50', '15m 50s'])
  expect(left.at(-1)).toEqual(['200', '26m 40s'])
})

test('a line fits its terminal: first the bar gives way, then the last parts of the note', () => {
  const state = { label: 'training', done: 50, total: 100, left: '1m 05s', note: 'loss 2.500 | topK 2 | 9,000 tokens/s' }
  expect(progressLine(state, 120)).toBe('training   ████████████░░░░░░░░░░░░ 50/100 | 1m 05s left | loss 2.500 | topK 2 | 9,000 tokens/s')
  expect(progressLine(state, 80)).toBe('training   ███░░░ 50/100 | 1m 05s left | loss 2.500 | topK 2 | 9,000 tokens/s')
  expect(progressLine(state, 60)).toBe('training 50/100 | 1m 05s left | loss 2.500 | topK 2')
  expect(progressLine(state, 20)).toBe('training 50/100 | 1m')
})

test('the note of a step has what was measured, and keeps what is measured now and then', () => {
  const note = new StepNote()
  const event = {
    tokens: 1,
    loss: 2.5,
    gradientNorm: 1,
    learningRate: 1,
    stage: 0,
    topK: 2,
    tokensPerSecond: 1234.4,
    skipped: false,
  } as const
  expect(note.of({ ...event, step: 1, topK: 'dense' })).toBe('loss 2.500 | dense | 1,234 tokens/s')
  const recall = { mean: 0.9, layers: [0.9], topK: 2, queries: 1 }
  const measured = { recall, validation: { loss: 1, perplexity: Math.E }, mfu: 0.412, distillationLoss: 0.5 }
  const rest = 'topK 2 | 1,234 tokens/s | MFU 41.2 %'
  const kept = 'recall 90.0 % | validation perplexity 2.72'
  expect(note.of({ ...event, ...measured, step: 2 })).toBe(`loss 2.500 distil 0.500 | ${rest} | ${kept}`)
  expect(note.of({ ...event, step: 3, mfu: 0.412, spike: { loss: 2.5, expected: 1 } })).toBe(`loss 2.500 | spike | ${rest} | ${kept}`)
})
