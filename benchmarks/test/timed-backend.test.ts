import { type ModelBackend, ReferenceBackend } from '@phsa/core'
import { expect, test } from 'vitest'
import { hostTimer, tickingTimer } from '../model/host-timer.js'
import { timedBackend, timesByClass } from '../model/timed-backend.js'

const ROWS = new Float32Array(6).fill(1)

test('times of calls are summed up by class, with the FLOPs of products', () => {
  const calls = [
    { name: 'linear', flops: 10 },
    { name: 'add', flops: 0 },
    { name: 'linear', flops: 5 },
  ]
  expect(timesByClass(calls, [1, 2, 4])).toEqual({
    linear: { milliseconds: 5, calls: 2, flops: 15 },
    add: { milliseconds: 2, calls: 1, flops: 0 },
  })
})

test('each call gets the interval that ends with it, and nothing is marked outside of begin and end', () => {
  const timed = timedBackend(new ReferenceBackend(), tickingTimer(), 7, true)
  const { memory, ops } = timed.backend
  const x = memory.upload(ROWS, [2, 3])
  const [narrow, head] = [memory.upload(ROWS, [2, 3]), memory.upload(new Float32Array(21), [7, 3])]
  timed.begin()
  memory.scope(() => {
    const y = ops.linear(x, narrow)
    ops.linear(x, head)
    ops.linearBackward(y, x, narrow, memory.alloc([2, 3], 'f32'))
    memory.reshape(y, [4])
  })
  expect(timed.end()).toEqual({
    linear: { milliseconds: 1, calls: 1, flops: 2 * 2 * 3 * 2 },
    head: { milliseconds: 1, calls: 1, flops: 2 * 2 * 3 * 7 },
    memory: { milliseconds: 1, calls: 1, flops: 0 },
    'linear backward': { milliseconds: 1, calls: 1, flops: 2 * 2 * 2 * 3 * 2 },
  })
  timed.begin()
  expect(timed.end()).toEqual({})
})

test('an operation that a backend may lack is not there, and where it declines nothing is marked', () => {
  const inner = new ReferenceBackend()
  expect(timedBackend(inner, tickingTimer(), 7, true).backend.ops.finishLayer).toBeUndefined()
  const declining = { ...inner.ops, finishLayer: () => undefined, projectHeads: () => ({ q: x, k: x, v: x }) }
  const x = inner.memory.upload(ROWS, [2, 3])
  const timed = timedBackend(Object.assign(inner, { ops: declining }), tickingTimer(), 7, true)
  const layer = { x, norm: x, q: x, k: x, v: x, qNorm: x, kNorm: x, positions: x, rope: { cos: x, sin: x }, epsilon: 0 }
  timed.begin()
  timed.backend.ops.finishLayer?.({ ...layer, out: x, o: x, gate: x, up: x, down: x })
  timed.backend.ops.projectHeads?.(layer)
  expect(timed.end()).toEqual({ projectHeads: { milliseconds: 1, calls: 1, flops: 3 * 2 * 2 * 6 } })
})

test('the peak counts what tensors held after a call, since it was asked for last', () => {
  const timed = timedBackend(new ReferenceBackend(), hostTimer(), 7, true)
  const { memory } = timed.backend
  memory.scope(() => void memory.alloc([100], 'f32'))
  expect(timed.takePeak()).toBe(400)
  memory.alloc([1], 'f32')
  expect(timed.takePeak()).toBe(4)
})

test('the time of the host reaches from the first call to the end of the last one', () => {
  const timed = timedBackend(new ReferenceBackend(), hostTimer(), 7, true)
  expect(timed.takeHost()).toBe(0)
  timed.backend.memory.alloc([2 ** 16], 'f32')
  timed.backend.memory.alloc([2 ** 16], 'f32')
  expect(timed.takeHost()).toBeGreaterThan(0)
  expect(timed.takeHost()).toBe(0)
})

test('a recorded step is replayed through the wrapper, or there is none', async () => {
  let replays = 0
  const inner: ModelBackend = Object.assign(new ReferenceBackend(), {
    capture: async <T>(step: () => T) => ({ result: step(), replay: () => void replays++, dispose: () => undefined }),
  })
  const { backend } = timedBackend(inner, hostTimer(), 7, true)
  const captured = await backend.capture!(() => backend.memory.alloc([1], 'f32'))
  captured.replay()
  expect(replays).toBe(1)
  expect(timedBackend(inner, hostTimer(), 7, false).backend.capture).toBeUndefined()
})
