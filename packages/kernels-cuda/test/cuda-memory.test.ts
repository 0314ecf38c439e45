import { type AttentionSpec, type HostArray, isPhsaError, reference, roundArray, type Tensor } from '@phsa/core'
import { describe, expect, test, vi } from 'vitest'
import { Device } from '../src/driver/device.js'
import { findDevice } from '../src/driver/find-device.js'
import { CudaMemory } from '../src/memory/cuda-memory.js'
import { SLOT_BYTES } from '../src/memory/upload-staging.js'
import { FakeDriver, type FakeMachine, fakeArchive } from './fake-driver.js'

function open(machine: FakeMachine = {}) {
  const archive = fakeArchive()
  const driver = new FakeDriver(machine, archive)
  const device = new Device(driver, findDevice(driver, 0, 13000), archive)
  const memory = new CudaMemory(device, { name: 'cuda', supports: (_: AttentionSpec) => ({ ok: true }) })
  return { driver, device, memory }
}

const count = (driver: FakeDriver, call: string) => driver.calls.filter((each) => each === call).length
const errorCode = (code: string) => expect.objectContaining({ code })
/** Everything that was taken has been given back. */
function expectNothingLeft(driver: FakeDriver) {
  expect({
    device: driver.deviceBytes,
    host: driver.hostBytes,
    events: driver.events.size,
    streams: driver.streams.size,
    modules: driver.modules.size,
    contexts: driver.contexts,
  }).toEqual({ device: 0, host: 0, events: 0, streams: 0, modules: 0, contexts: 0 })
}

describe('in and out', () => {
  test.each([
    ['f32', Float32Array.of(1.5, -0, Number.NaN, 1e-40)],
    ['i32', Int32Array.of(-(2 ** 31), 2 ** 31 - 1, 0)],
  ] as const)('%s comes back bit by bit', async (dtype, data) => {
    const { memory } = open()
    const sent = data.slice()
    const tensor = memory.upload(data, [data.length], dtype)
    data.fill(7)
    expect(await memory.download(tensor)).toEqual(sent)
  })

  test('bf16 is rounded to nearest even, as core rounds', async () => {
    const { memory } = open()
    const ties = [1 + 2 ** -8, 1 + 3 * 2 ** -8, 2 ** -133, 3 * 2 ** -134, 1e-45, 3.39e38, 3.3961775e38, Number.POSITIVE_INFINITY, 0, 1e-3]
    const data = Float32Array.from([...ties, ...ties.map((value) => -value), Number.NaN])
    // A NaN whose payload is in the lower half only.
    new Uint32Array(data.buffer)[data.length - 1] = 0x7f800001
    const bits = (values: HostArray) => [...new Uint32Array(values.buffer as ArrayBuffer)].slice(0, 20)
    const received = await memory.download(memory.upload(data, [data.length], 'bf16'))
    expect(bits(received)).toEqual(bits(roundArray(data, 'bf16')))
    expect(received[20]).toBeNaN()
  })

  test('more than the slots hold, at an odd size, and a part of an array', async () => {
    const { memory, driver } = open()
    const elements = 9 * (SLOT_BYTES / 4) + 3
    const data = new Int32Array(elements + 1).subarray(1)
    for (let index = 0; index < elements; index++) data[index] = index
    driver.isBusy = true
    const received = await memory.download(memory.upload(data, [elements]))
    expect(Buffer.from(received.buffer).equals(Buffer.from(data.buffer, 4))).toBe(true)
    expect(count(driver, 'cuMemHostAlloc')).toBe(8 + 1)
  })

  test('small uploads share a slot, and the host waits for none of them', () => {
    const { memory, driver } = open()
    driver.isBusy = true
    for (let index = 0; index < 1000; index++) memory.upload(Int32Array.of(index), [1]).dispose()
    expect([count(driver, 'cuMemHostAlloc'), count(driver, 'cuEventSynchronize'), count(driver, 'cuMemAlloc')]).toEqual([1, 0, 1])
  })

  test('other types are refused with what is held', () => {
    const { memory } = open()
    expect(() => memory.upload(Float32Array.of(1), [1], 'f16')).toThrow('dtype is f16; cuda holds f32, bf16 and i32.')
    expect(() => memory.upload(Float64Array.of(1), [1])).toThrow(errorCode('unsupported'))
    expect(() => memory.alloc([1], 'f64')).toThrow(errorCode('unsupported'))
  })

  test('extents of 0 take nothing', async () => {
    const { memory, driver } = open()
    const empty = memory.upload(new Float32Array(0), [4, 0])
    memory.zero(empty)
    memory.write(empty, new Float32Array(0))
    memory.copy(empty, memory.alloc([0], 'bf16'))
    expect(memory.address(empty)).toBe(0n)
    expect(await memory.download(memory.reshape(empty, [0, 9]))).toEqual(new Float32Array(0))
    expect(driver.deviceBytes).toBe(0)
    expect(memory.usage()).toEqual({ tensors: 2, bytes: 0 })
  })

  test('copies of one type go through the driver, conversions through a kernel', async () => {
    const { memory, driver } = open()
    const wide = memory.upload(Float32Array.of(1, 2, 3), [3])
    const same = memory.alloc([3], 'f32')
    memory.copy(wide, same)
    expect(await memory.download(same)).toEqual(Float32Array.of(1, 2, 3))
    expect(driver.launches).toEqual([])
    const narrow = memory.alloc([3, 1], 'bf16')
    memory.copy(wide, narrow)
    expect(await memory.download(narrow)).toEqual(Float32Array.of(1, 2, 3))
    expect(driver.launches.map(({ kernel }) => kernel)).toEqual(['convert_f32_bf16'])
    expect(() => memory.copy(wide, memory.alloc([3], 'i32'))).toThrow(errorCode('shape'))
  })
})

describe('download', () => {
  test('is as the tensor stood in queue order, and the event loop goes on meanwhile', async () => {
    const { memory, driver } = open()
    driver.isBusy = true
    const tensor = memory.upload(Float32Array.of(1, 2), [2])
    let turns = 0
    const timer = setInterval(() => turns++, 0)
    const [first, second] = [memory.download(tensor), memory.download(tensor)]
    memory.write(tensor, Float32Array.of(3, 4))
    const third = memory.download(tensor)
    tensor.dispose()
    memory.upload(Float32Array.of(9, 9), [2])
    expect(driver.events.size).toBe(1 + 3)
    expect(await Promise.all([first, second, third])).toEqual([Float32Array.of(1, 2), Float32Array.of(1, 2), Float32Array.of(3, 4)])
    clearInterval(timer)
    expect(count(driver, 'cuEventSynchronize')).toBe(0)
  })

  test('gives no page-locked memory back, which would wait for the GPU', async () => {
    const { memory, driver } = open()
    const tensors = [1, 1000, 50_000].map((elements) => memory.alloc([elements], 'f32'))
    for (let time = 0; time < 3; time++) await Promise.all(tensors.map((tensor) => memory.download(tensor)))
    expect([count(driver, 'cuMemHostAlloc'), count(driver, 'cuMemFreeHost')]).toEqual([3, 0])
    memory.close()
    expectNothingLeft(driver)
  })

  test('asks from this thread where workers have no context', async () => {
    const { memory, driver } = open({ workersFail: true })
    driver.isBusy = true
    const tensor = memory.upload(Int32Array.of(5), [1])
    expect(await memory.download(tensor)).toEqual(Int32Array.of(5))
    const again = memory.download(tensor)
    setTimeout(() => driver.drain(), 5)
    expect(await again).toEqual(Int32Array.of(5))
    expect(memory.usage().tensors).toBe(1)
  })

  test('rejects when the GPU is lost before it arrives, and all behind it', async () => {
    const { memory, driver, device } = open()
    driver.isBusy = true
    const tensor = memory.upload(Int32Array.of(5), [1])
    driver.failures.set('cuEventSynchronizeAsync', [719])
    const results = await Promise.allSettled([memory.download(tensor), memory.download(tensor)])
    for (const result of results) expect(result).toMatchObject({ status: 'rejected', reason: { code: 'backend-lost' } })
    expect(isPhsaError(await device.lost, 'backend-lost')).toBe(true)
    await expect(memory.download(tensor)).rejects.toMatchObject({ code: 'backend-lost' })
    expect(() => memory.alloc([1], 'f32')).toThrow(errorCode('backend-lost'))
    tensor.dispose()
    memory.close()
    expect(driver.contexts).toBe(0)
  })

  test('still arrives when the backend is disposed meanwhile', async () => {
    const { memory, driver } = open()
    driver.isBusy = true
    const pending = memory.download(memory.upload(Int32Array.of(1, 2, 3), [3]))
    memory.close()
    expect(await pending).toEqual(Int32Array.of(1, 2, 3))
    await vi.waitFor(() => expectNothingLeft(driver))
  })
})

describe('what is held', () => {
  test('usage is exact, views count once, and nothing is left at the end', async () => {
    const { memory, driver } = open()
    const tensor = memory.upload(Float32Array.of(1, 2, 3), [3], 'bf16')
    const view = memory.reshape(tensor, [1, 3])
    expect(memory.usage()).toEqual({ tensors: 1, bytes: 6 })
    tensor.dispose()
    tensor.dispose()
    expect(await memory.download(view)).toEqual(Float32Array.of(1, 2, 3))
    expect(() => memory.reshape(tensor, [3])).toThrow(errorCode('disposed'))
    view.dispose()
    expect(memory.usage()).toEqual({ tensors: 0, bytes: 0 })
    const cache = memory.reserve('a cache', 100)
    expect(memory.usage()).toEqual({ tensors: 1, bytes: 100 })
    cache.release()
    // The memory is someone else's now.
    const other = memory.alloc([25], 'f32')
    expect(memory.address(other)).toBe(cache.address)
    cache.release()
    expect(memory.usage()).toEqual({ tensors: 1, bytes: 100 })
    memory.close()
    memory.close()
    other.dispose()
    expect(memory.usage()).toEqual({ tensors: 0, bytes: 0 })
    expectNothingLeft(driver)
    expect(() => memory.alloc([1], 'f32')).toThrow(errorCode('disposed'))
    expect(() => memory.scope(() => 1)).toThrow(errorCode('disposed'))
    await expect(memory.download(other)).rejects.toMatchObject({ code: 'disposed' })
  })

  test('a scope keeps its result and frees the rest, also when it throws', () => {
    const { memory } = open()
    const kept = memory.scope(() => {
      memory.make([2], 'f32')
      return { inside: [memory.alloc([4], 'f32')] }
    })
    expect(memory.usage()).toEqual({ tensors: 1, bytes: 16 })
    expect(() =>
      memory.scope(() => {
        memory.alloc([4], 'f32')
        throw new RangeError('inside')
      }),
    ).toThrow(RangeError)
    expect(memory.usage().tensors).toBe(1)
    kept.inside[0].dispose()
    expect(memory.usage()).toEqual({ tensors: 0, bytes: 0 })
  })

  test('the device takes no more memory in a thousand steps than in one', async () => {
    const { memory, driver } = open()
    const step = async () => {
      const result = memory.scope(() => {
        const x = memory.upload(new Float32Array(1000), [10, 100])
        memory.scratch(5000, ({ address }) => memory.scratch(5000, (inner) => expect(inner.address).not.toBe(address)))
        return memory.alloc([...x.shape], 'bf16')
      })
      const received = memory.download(result)
      result.dispose()
      return received
    }
    await step()
    const [device, host] = [driver.deviceBytes, driver.hostBytes]
    for (let index = 0; index < 1000; index++) await step()
    expect([driver.deviceBytes, driver.hostBytes, driver.memory.peakDeviceBytes]).toEqual([device, host, device])
    memory.close()
    expectNothingLeft(driver)
  })

  test('out of memory says what was asked and what is free, after all that was kept was given back', () => {
    const { memory, driver } = open({ deviceBytes: 2 ** 20 })
    const held = memory.alloc([1024], 'f32')
    memory.alloc([2 ** 17], 'f32').dispose()
    const large: Tensor = memory.alloc([2 ** 17 + 2 ** 16], 'f32')
    large.dispose()
    expect(() => memory.alloc([512, 512], 'f32')).toThrow(
      `a f32 tensor [512, 512] needs 1048576 bytes; ${2 ** 20 - 4096} of ${2 ** 20} are free on the GPU.`,
    )
    expect(() => memory.alloc([2 ** 20], 'f32')).toThrow(errorCode('out-of-memory'))
    expect(memory.usage()).toEqual({ tensors: 1, bytes: 4096 })
    expect(driver.deviceBytes).toBe(4096)
    held.dispose()
    memory.alloc([2 ** 18], 'f32')
  })

  test('an upload that finds no page-locked memory leaves no tensor behind', () => {
    const { memory, driver } = open()
    driver.failures.set('cuMemHostAlloc', [2])
    expect(() => memory.upload(Float32Array.of(1), [1])).toThrow('page-locked host memory')
    expect(memory.usage()).toEqual({ tensors: 0, bytes: 0 })
  })

  test('tensors of another backend are refused', async () => {
    const { memory } = open()
    const foreign = (await reference()).memory.alloc([2], 'f32')
    expect(() => memory.zero(foreign)).toThrow(errorCode('backend-mismatch'))
    expect(() => memory.copy(memory.alloc([2], 'f32'), foreign)).toThrow(errorCode('backend-mismatch'))
    expect(() => memory.address(open().memory.alloc([2], 'f32'))).toThrow(errorCode('backend-mismatch'))
    await expect(memory.download(open().memory.alloc([2], 'f32'))).rejects.toMatchObject({ code: 'backend-mismatch' })
  })
})
