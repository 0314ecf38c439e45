import { expect, test } from 'vitest'
import { openBackend } from '../src/open-backend.js'
import { FakeDriver, type FakeMachine, fakeArchive } from './fake-driver.js'

const errorCode = (code: string) => expect.objectContaining({ code })

function open(machine: FakeMachine = {}) {
  const archive = fakeArchive()
  const driver = new FakeDriver(machine, archive)
  return { driver, backend: openBackend(driver, archive, 0) }
}

/** Device memory, graphs and whatever else the driver counts. */
function taken({ deviceBytes, hostBytes, events, streams, modules, recordings, contexts }: FakeDriver) {
  return { deviceBytes, hostBytes, events: events.size, streams: streams.size, modules: modules.size, graphs: recordings.size, contexts }
}
const NOTHING = { deviceBytes: 0, hostBytes: 0, events: 0, streams: 0, modules: 0, graphs: 0, contexts: 0 }

test('a step is recorded with all kernels loaded before, and one call of the driver replays it', async () => {
  const { driver, backend } = open()
  const { memory } = backend
  const source = memory.upload(Float32Array.of(1, 2), [2])
  const captured = await backend.capture(() => {
    const narrow = memory.alloc([2], 'bf16')
    memory.copy(source, narrow)
    return narrow
  })
  expect(driver.calls.indexOf('cuStreamBeginCapture')).toBeGreaterThan(driver.calls.lastIndexOf('cuModuleLoadData'))
  const before = driver.calls.length
  memory.write(source, Float32Array.of(3, 4))
  captured.replay()
  expect(driver.calls.slice(before).filter((call) => call !== 'cuCtxSetCurrent')).toEqual(['cuMemcpyHtoDAsync', 'cuGraphLaunch'])
  expect(await memory.download(captured.result)).toEqual(Float32Array.of(3, 4))
})

test('memory of a step is used again inside of it, by nobody else, and by everybody when it is gone', async () => {
  const { driver, backend } = open()
  const { memory } = backend
  const addresses: bigint[] = []
  const captured = await backend.capture(() => {
    for (let time = 0; time < 3; time++) {
      memory.scope(() => void addresses.push(memory.address(memory.alloc([1000], 'f32'))))
      memory.scratch(4000, ({ address }) => addresses.push(address))
    }
  })
  expect(new Set(addresses).size).toBe(1)
  const outside = [1, 2, 3].map(() => memory.alloc([1000], 'f32'))
  expect(outside.map((tensor) => memory.address(tensor))).not.toContain(addresses[0])
  const bytes = driver.deviceBytes
  captured.dispose()
  expect(memory.address(memory.alloc([1000], 'f32'))).toBe(addresses[0])
  expect(driver.deviceBytes).toBe(bytes)
})

test('a step takes what a plain run of it left, and a hundred recordings take no more than one', async () => {
  const { driver, backend } = open()
  const { memory } = backend
  const step = () => memory.scope(() => [10, 1000, 5000].map((elements) => memory.alloc([elements], 'f32')))
  for (const tensor of step()) tensor.dispose()
  const plain = driver.deviceBytes
  for (let time = 0; time < 100; time++) {
    const captured = await backend.capture(step)
    captured.replay()
    captured.dispose()
    expect(taken(driver)).toMatchObject({ deviceBytes: plain, graphs: 0 })
  }
  expect(memory.usage()).toEqual({ tensors: 0, bytes: 0 })
})

test('a view of the result outlives the recording with its memory', async () => {
  const { backend } = open()
  const { memory } = backend
  const captured = await backend.capture(() => memory.alloc([4], 'f32'))
  captured.replay()
  const view = memory.reshape(captured.result, [2, 2])
  captured.dispose()
  const other = memory.upload(Float32Array.of(1, 2, 3, 4), [4])
  expect(memory.address(other)).not.toBe(memory.address(view))
  expect(await memory.download(view)).toEqual(new Float32Array(4))
  view.dispose()
  expect(memory.usage().tensors).toBe(1)
})

test('downloads under way go on while a step is recorded', async () => {
  const { driver, backend } = open()
  const { memory } = backend
  driver.isBusy = true
  const tensor = memory.upload(Float32Array.of(5), [1])
  const pending = memory.download(tensor)
  const captured = await backend.capture(() => memory.alloc([1], 'f32'))
  expect(await pending).toEqual(Float32Array.of(5))
  captured.replay()
  expect(await memory.download(captured.result)).toEqual(Float32Array.of(0))
})

test('a failed recording leaves nothing', async () => {
  const { driver, backend } = open()
  const { memory } = backend
  const step = () => memory.alloc([3], 'f32')
  await expect(backend.capture(async () => step())).rejects.toMatchObject({ code: 'unsupported' })
  for (const [call, result] of Object.entries({
    cuStreamBeginCapture: 1,
    cuMemsetD8Async: 1,
    cuStreamEndCapture: 1,
    cuGraphInstantiate: 2,
  })) {
    driver.failures.set(call, [result])
    await expect(backend.capture(step), call).rejects.toThrow(call)
    expect(driver.recordings.size).toBe(0)
    expect(memory.usage()).toEqual({ tensors: 0, bytes: 0 })
  }
  const captured = await backend.capture(step)
  captured.replay()
  expect(await memory.download(captured.result)).toEqual(new Float32Array(3))
})

test('what cannot be recorded is refused before the driver is asked', async () => {
  const { driver, backend } = open()
  const timer = backend.createTimer()
  const recorded = await backend.capture(() => 0)
  const calls: (() => unknown)[] = [
    () => backend.memory.upload(Float32Array.of(1), [1]),
    () => backend.memory.reserve('a cache', 5),
    () => timer.mark(),
    () => recorded.replay(),
    () => backend.dispose(),
  ]
  for (const call of calls)
    await expect(
      backend.capture(() => void call()),
      call.toString(),
    ).rejects.toThrow(errorCode('capture'))
  expect(driver.recordings.size).toBe(1)
  timer.dispose()
  backend.dispose()
  expect(taken(driver)).toEqual(NOTHING)
})

test('a backend is disposed with its recordings', async () => {
  const { driver, backend } = open()
  const captured = await backend.capture(() => backend.memory.alloc([3], 'f32'))
  backend.dispose()
  expect(taken(driver)).toEqual(NOTHING)
  expect(() => captured.replay()).toThrow(errorCode('disposed'))
  captured.dispose()
  await expect(backend.capture(() => 0)).rejects.toThrow(errorCode('disposed'))
})

test('a lost device says so to replays, and lets recordings go', async () => {
  const { driver, backend } = open()
  const captured = await backend.capture(() => backend.memory.alloc([3], 'f32'))
  driver.failures.set('cuGraphLaunch', [719])
  expect(() => captured.replay()).toThrow(errorCode('backend-lost'))
  expect(() => captured.replay()).toThrow(errorCode('backend-lost'))
  captured.dispose()
  backend.dispose()
  expect(driver.contexts).toBe(0)
})

test('a device lost in the middle of a recording', async () => {
  const { driver, backend } = open()
  driver.failures.set('cuMemsetD8Async', [719])
  await expect(backend.capture(() => backend.memory.alloc([3], 'f32'))).rejects.toThrow(errorCode('backend-lost'))
  expect((await backend.lost).code).toBe('backend-lost')
  expect(backend.memory.usage().tensors).toBe(0)
  backend.dispose()
})
