import { BackendMismatchError, DisposedError, ShapeError } from '@phsa/core'
import { describe, expect, test } from 'vitest'
import { findGpu } from '../src/device/find-gpu.js'
import { openWebgpu, webgpuUnavailable } from './open-webgpu.js'

const unavailable = await webgpuUnavailable()

/** A device that counts the buffers that live. */
async function countingDevice() {
  const { device } = await findGpu({})
  const live = new Set<GPUBuffer>()
  const { createBuffer } = device
  device.createBuffer = (descriptor) => {
    const buffer = createBuffer.call(device, descriptor)
    const { destroy } = buffer
    live.add(buffer)
    buffer.destroy = () => {
      live.delete(buffer)
      return destroy.call(buffer)
    }
    return buffer
  }
  return { device, live }
}

describe.skipIf(unavailable)(`buffers${unavailable ? ` (${unavailable})` : ''}`, () => {
  test('every buffer that a backend makes is destroyed when it is disposed, and a device that was passed in stays', async () => {
    const { device, live } = await countingDevice()
    const backend = await openWebgpu('swiftshader', { device })
    const { memory } = backend
    const kept = memory.upload(new Float32Array(1000), [1000])
    const freed = memory.alloc([5000], 'f32')
    freed.dispose()
    const pending = memory.download(kept)
    const step = await backend.capture(() => memory.scope(() => memory.zero(memory.alloc([300], 'f32'))))
    step.replay()
    backend.flush()
    expect(live.size).toBeGreaterThan(3)
    backend.dispose()
    expect((await pending).length, 'a download that is on its way still arrives').toBe(1000)
    await Promise.resolve()
    expect(live.size).toBe(0)
    const own = device.createBuffer({ size: 16, usage: GPUBufferUsage.COPY_DST })
    own.destroy()
    const loss = await Promise.race([device.lost, new Promise((resolve) => setTimeout(resolve, 50, 'alive'))])
    expect(loss).toBe('alive')
    device.destroy()
  })

  test('a buffer of the caller is a tensor without a copy, and outlives it', async () => {
    const { device, live } = await countingDevice()
    const backend = await openWebgpu('swiftshader', { device })
    const { memory } = backend
    const usage = GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST
    const buffer = device.createBuffer({ size: 16, usage })
    device.queue.writeBuffer(buffer, 0, Float32Array.of(1, 2, 3, 4))
    const before = live.size
    const tensor = backend.wrap(buffer, [2, 2], 'f32')
    expect(live.size).toBe(before)
    expect(backend.bufferOf(tensor)).toBe(buffer)
    expect([...(await memory.download(tensor))]).toEqual([1, 2, 3, 4])
    memory.write(tensor, Float32Array.of(5, 6, 7, 8))
    expect([...(await memory.download(tensor))]).toEqual([5, 6, 7, 8])

    // The other way: the caller's own commands read what was queued here.
    memory.zero(tensor)
    backend.flush()
    const read = device.createBuffer({ size: 16, usage: GPUBufferUsage.COPY_DST | GPUBufferUsage.MAP_READ })
    const encoder = device.createCommandEncoder()
    encoder.copyBufferToBuffer(backend.bufferOf(tensor), 0, read, 0, 16)
    device.queue.submit([encoder.finish()])
    await read.mapAsync(GPUMapMode.READ)
    expect([...new Float32Array(read.getMappedRange())]).toEqual([0, 0, 0, 0])
    read.destroy()

    expect(() => backend.wrap(buffer, [5], 'f32')).toThrow(ShapeError)
    const unfit = device.createBuffer({ size: 16, usage: GPUBufferUsage.COPY_DST })
    expect(() => backend.wrap(unfit, [4], 'f32')).toThrow(/STORAGE \| COPY_SRC \| COPY_DST/)
    unfit.destroy()
    tensor.dispose()
    backend.dispose()
    expect([...live]).toEqual([buffer])
    device.destroy()
  })

  test('what lies behind a tensor in a buffer of the caller stays as it is', async () => {
    const { device } = await countingDevice()
    const backend = await openWebgpu('swiftshader', { device })
    const { memory } = backend
    const usage = GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST
    const buffer = device.createBuffer({ size: 16, usage })
    device.queue.writeBuffer(buffer, 0, Float32Array.of(1, 2, 3, 4))
    const whole = backend.wrap(buffer, [4], 'f32')
    memory.zero(backend.wrap(buffer, [2], 'f32'))
    memory.copy(memory.upload(Float32Array.of(9), [1]), backend.wrap(buffer, [1], 'f32'))
    expect([...(await memory.download(whole))]).toEqual([9, 0, 3, 4])
    backend.dispose()
    device.destroy()
  })

  test('no buffer is larger than the device allows, whatever its size class', async () => {
    const { device, live } = await countingDevice()
    const most = 10_000_000
    Object.defineProperty(device, 'limits', { value: { maxBufferSize: most } })
    const backend = await openWebgpu('swiftshader', { device })
    backend.memory.alloc([most / 4 - 1000], 'f32')
    expect(Math.max(...[...live].map(({ size }) => size))).toBe(most)
    backend.dispose()
    device.destroy()
  })

  test('tensors of another backend, and what is disposed, are refused', async () => {
    const [first, second] = [await openWebgpu(), await openWebgpu()]
    const tensor = first.memory.upload(Float32Array.of(1), [1])
    expect(() => second.memory.zero(tensor)).toThrow(BackendMismatchError)
    await expect(second.memory.download(tensor)).rejects.toThrow(BackendMismatchError)
    tensor.dispose()
    expect(() => first.memory.zero(tensor)).toThrow(DisposedError)
    first.dispose()
    expect(() => first.memory.alloc([1], 'f32')).toThrow(DisposedError)
    expect(() => first.flush()).toThrow(DisposedError)
    second.dispose()
  })

  test('memory that was freed is used again', async () => {
    const { device, live } = await countingDevice()
    const backend = await openWebgpu('swiftshader', { device })
    const { memory } = backend
    memory.alloc([1000], 'f32').dispose()
    const buffers = live.size
    for (let round = 0; round < 20; round++) memory.scope(() => void memory.alloc([1000], 'f32'))
    expect(live.size).toBe(buffers)
    backend.dispose()
    device.destroy()
  })
})
