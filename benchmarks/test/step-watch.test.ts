import { setTimeout as sleep } from 'node:timers/promises'
import type { ModelBackend, Tensor } from '@phsa/core'
import type { QueueTimer } from '@phsa/kernels-cuda'
import { expect, test } from 'vitest'
import { watchSteps } from '../serve/step-watch.js'

const drawn = {} as Tensor

test('the host is waited for where the tokens of a replay arrive before the next one is queued', async () => {
  const arrivals: (() => void)[] = []
  const backend = {
    memory: { download: () => new Promise<void>((resolve) => arrivals.push(resolve)) },
    capture: async () => ({ result: drawn, replay: () => undefined, dispose: () => undefined }),
  } as unknown as ModelBackend
  let marks = 0
  const timer = { mark: () => marks++, read: () => Array.from({ length: marks - 1 }, (_, index) => index) } as unknown as QueueTimer
  const watch = watchSteps(backend, timer)
  const { memory } = backend
  const { replay } = await backend.capture!(() => drawn)
  replay()
  const first = memory.download(drawn)
  // One step ahead, and then not.
  replay()
  const second = memory.download(drawn)
  arrivals[0]()
  await first
  arrivals[1]()
  await second
  await sleep(2)
  replay()
  const steps = watch.take()
  expect(steps.map(({ host }) => host > 0)).toEqual([false, false, true])
  expect(steps.map(({ device, idle }) => [device, idle])).toEqual([
    [0, 1],
    [2, 3],
    [4, 0],
  ])
})
