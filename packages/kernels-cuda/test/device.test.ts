import { expect, test, vi } from 'vitest'
import { Device } from '../src/driver/device.js'
import { findDevice } from '../src/driver/find-device.js'
import { ParamWriter } from '../src/driver/param-writer.js'
import { FakeDriver, fakeArchive } from './fake-driver.js'

function open(kernels?: readonly string[]) {
  const archive = fakeArchive(kernels)
  const driver = new FakeDriver({}, archive)
  return { driver, device: new Device(driver, findDevice(driver, 0, 13000), archive) }
}
const launch = { kernel: 'work', grid: [4, 2, 1], block: 128, params: Uint8Array.of(1, 2, 3, 4) } as const

test('a launch passes its shape and a copy of its arguments', () => {
  const { driver, device } = open()
  device.launch({ ...launch, sharedBytes: 100 })
  expect(driver.launches).toEqual([{ kernel: 'work', grid: [4, 2, 1], threads: 128, sharedBytes: 100, params: Uint8Array.of(1, 2, 3, 4) }])
})

test('a kernel begins before the one before it has ended only right behind it', () => {
  const { driver, device } = open(['work', 'next'])
  const next = { ...launch, kernel: 'next', overlaps: ['work'] }
  const early = vi.spyOn(driver, 'cuLaunchKernelEx')
  device.launch(launch)
  device.launch(next)
  expect(early).toHaveBeenCalledTimes(1)
  const [first, second] = [device.allocate(4) ?? 0n, device.allocate(4) ?? 0n]
  const host = device.allocateHost(4) ?? 0n
  const others = [
    // What a library queues is not known.
    () => device.withStream(() => {}),
    () => device.fill8(first, 0, 4),
    () => device.copyOnDevice(first, second, 4),
    () => device.copyToDevice(first, host, 4),
    () => device.copyToHost(host, first, 4),
  ]
  for (const other of others) {
    device.launch(launch)
    other()
    device.launch(next)
    expect(early).toHaveBeenCalledTimes(1)
  }
})

test('thread blocks that wait for each other are launched all at once', () => {
  const { driver, device } = open()
  const other = vi.spyOn(driver, 'cuLaunchKernelEx')
  device.launch({ ...launch, together: true })
  expect(other.mock.calls.map((values) => values.at(-1))).toEqual(['together'])
  expect(driver.launches).toHaveLength(1)
})

test('modules are loaded when a kernel of theirs is asked for, the others by loadNextKernels, and unloaded by close', () => {
  const { driver, device } = open()
  expect(driver.modules.size).toBe(0)
  device.launch(launch)
  device.launch(launch)
  expect(driver.modules.size).toBe(1)
  expect([device.loadNextKernels(), device.loadNextKernels()]).toEqual([true, false])
  expect(driver.modules.size).toBe(2)
  device.close()
  device.close()
  expect([driver.modules.size, driver.streams.size, driver.contexts]).toEqual([0, 0, 0])
})

test('an empty grid launches nothing', () => {
  const { driver, device } = open()
  device.launch({ ...launch, grid: [4, 0, 1] })
  expect(driver.launches).toEqual([])
})

test('dynamic shared memory is asked for where it grows', () => {
  const { driver, device } = open()
  for (const sharedBytes of [48 * 1024, 70_000, 70_000, 60_000]) device.launch({ ...launch, sharedBytes })
  expect(driver.calls.filter((call) => call === 'cuFuncSetAttribute')).toHaveLength(2)
  expect(() => device.launch({ ...launch, sharedBytes: 300_000 })).toThrow('cuFuncSetAttribute')
})

test('a kernel that was not built for the GPU', () => {
  const { device } = open()
  expect(device.hasKernel('work')).toBe(true)
  expect(device.hasKernel('other')).toBe(false)
  expect(() => device.launch({ ...launch, kernel: 'other' })).toThrow(expect.objectContaining({ code: 'unsupported' }))
})

test('the driver says once how many clusters of a kernel fit; of a kernel that is not there none do', () => {
  const { driver, device } = open()
  const counts = [1, 2].map(() => device.clustersAtOnce('work', 16, 512, 1024))
  expect(counts).toEqual([1, 1])
  expect(driver.calls.filter((call) => call === 'cuOccupancyMaxActiveClusters')).toHaveLength(1)
  expect(device.clustersAtOnce('other', 16, 512, 1024)).toBe(0)
})

test('a sticky result loses the device: lost settles, and every later call throws the same', async () => {
  const { driver, device } = open()
  driver.failures.set('cuMemsetD8Async', [700])
  const failure = expect.objectContaining({ code: 'backend-lost', message: expect.stringMatching(/ERROR_700 \(700\)/) })
  expect(() => device.fill8(1n, 0, 1)).toThrow(failure)
  expect(await device.lost).toEqual(failure)
  const calls = driver.calls.length
  expect(() => device.launch(launch)).toThrow(failure)
  expect(() => device.allocate(8)).toThrow(failure)
  expect(driver.calls.length).toBe(calls)
  device.close()
  expect(driver.contexts).toBe(0)
  expect(() => device.launch(launch)).toThrow(expect.objectContaining({ code: 'disposed' }))
})

test.each([
  [2, 'out-of-memory'],
  [1, 'cuda'],
  [222, 'cuda'],
  [999, 'backend-lost'],
])('result %i of a launch is a %s error', (result, code) => {
  const { driver, device } = open()
  driver.failures.set('cuLaunchKernel', [result])
  expect(() => device.launch(launch)).toThrow(expect.objectContaining({ code }))
})

test('out of memory outside of an allocation says what was asked and what is free', () => {
  const { driver, device } = open()
  driver.failures.set('cuModuleLoadData', [2])
  expect(() => device.launch(launch)).toThrow(
    `cuModuleLoadData of kernels: ERROR_2 (2), what 2 means; ${2 ** 30} of ${2 ** 30} bytes are free on the GPU. Dispose tensors`,
  )
  device.launch(launch)
})

test('two marks measure the time between them', () => {
  const { device } = open()
  const [start, end] = [device.createEvent('timed'), device.createEvent('timed')]
  device.recordEvent(start)
  device.recordEvent(end)
  expect(device.isReached(end)).toBe(true)
  expect(device.elapsed(start, end)).toBe(1)
})

test('parameters lie as a compiler lays out a struct', () => {
  const packed = new ParamWriter().pointer(0x1234n).i32(-1).i64(5).f32(1).end()
  const view = new DataView(packed.buffer, packed.byteOffset, packed.byteLength)
  expect(packed.length).toBe(32)
  expect(view.getBigUint64(0, true)).toBe(0x1234n)
  expect(view.getInt32(8, true)).toBe(-1)
  expect(view.getBigInt64(16, true)).toBe(5n)
  expect(view.getFloat32(24, true)).toBe(1)
  expect(new ParamWriter().pointer({ address: 1n }).i32(2).end().length).toBe(16)
  const long = new ParamWriter()
  for (let member = 0; member < 300; member++) long.pointer(BigInt(member))
  const members = new BigUint64Array(long.end().slice().buffer)
  expect([members.length, members[0], members[299]]).toEqual([300, 0n, 299n])
})
