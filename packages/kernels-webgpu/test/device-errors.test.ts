import { BackendLostError, CaptureError, isPhsaError, OutOfMemoryError } from '@phsa/core'
import { describe, expect, test, vi } from 'vitest'
import { findGpu } from '../src/device/find-gpu.js'
import { GpuDevice } from '../src/device/gpu-device.js'
import { openWebgpu, webgpuUnavailable } from './open-webgpu.js'

const unavailable = await webgpuUnavailable()

describe.skipIf(unavailable)(`errors of a device${unavailable ? ` (${unavailable})` : ''}`, () => {
  test('a shader that does not compile is told with file and line, each time that it is launched', async () => {
    const { device: gpu } = await findGpu({})
    const device = new GpuDevice(gpu, undefined, true)
    const kernel = {
      name: 'broken',
      parts: [
        { file: 'shared.wgsl', source: 'const one = 1u;\n' },
        { file: 'broken.wgsl', source: '\n@compute @workgroup_size(1)\nfn main() {\n  let x = two;\n}\n' },
      ],
    }
    for (let launch = 0; launch < 2; launch++) {
      device.launch({ kernel, element: 'f32', constants: {}, bindings: [], params: new Uint8Array(16), grid: [1, 1, 1] })
      device.flush()
      await gpu.queue.onSubmittedWorkDone()
      const failure = await device.takeFailure()
      expect(failure?.message).toMatch(/^The shader broken \(f32\) does not compile:\nbroken\.wgsl:4:11: .*two/)
    }
    await expect(
      device.prepare({ kernel: { ...kernel, parts: [...kernel.parts].reverse() }, element: 'f32', constants: {} }, []),
    ).rejects.toThrow(/broken\.wgsl:4:11/)
    device.close()
  })

  test('an override that a kernel does not have is told too', async () => {
    const { device: gpu } = await findGpu({})
    const device = new GpuDevice(gpu, undefined, true)
    const kernel = { name: 'plain', parts: [{ file: 'plain.wgsl', source: '@compute @workgroup_size(1)\nfn main() {}\n' }] }
    device.launch({ kernel, element: 'f32', constants: { NO_SUCH: 1 }, bindings: [], params: new Uint8Array(16), grid: [1, 1, 1] })
    expect((await device.takeFailure())?.message).toMatch(/plain \(f32\) does not compile:\n.*NO_SUCH/)
    device.close()
  })

  test('a lost device rejects downloads, settles lost, and fails later calls; a new backend works', async () => {
    const { device } = await findGpu({})
    const backend = await openWebgpu('swiftshader', { device })
    const tensor = backend.memory.upload(Float32Array.of(1, 2, 3), [3])
    device.destroy()
    await expect(backend.memory.download(tensor)).rejects.toBeInstanceOf(BackendLostError)
    const lost = await backend.lost
    expect(isPhsaError(lost, 'backend-lost')).toBe(true)
    expect(lost.message).toMatch(/is lost: .* Dispose this backend and create a new one\.$/)
    expect(() => backend.memory.alloc([3], 'f32')).toThrow(BackendLostError)
    backend.dispose()

    const next = await openWebgpu()
    expect([...(await next.memory.download(next.memory.upload(Float32Array.of(4), [1])))]).toEqual([4])
    next.dispose()
  })

  test('disposing a backend is no loss', async () => {
    const backend = await openWebgpu()
    backend.dispose()
    const first = await Promise.race([backend.lost.then(() => 'lost'), new Promise((resolve) => setTimeout(resolve, 200, 'quiet'))])
    expect(first).toBe('quiet')
  })

  test('what no buffer can hold is refused at once, with the number', async () => {
    const backend = await openWebgpu()
    const most = backend.gpuDevice.limits.maxBufferSize
    expect(() => backend.memory.alloc([most / 4 + 1], 'f32')).toThrow(OutOfMemoryError)
    expect(() => backend.memory.alloc([most / 4 + 1], 'f32')).toThrow(`at most ${most}`)
    expect(backend.memory.usage()).toEqual({ tensors: 0, bytes: 0 })
    backend.dispose()
  })

  test('memory that the device turns out not to have rejects the next download', async () => {
    const { device } = await findGpu({})
    const backend = await openWebgpu('swiftshader', { device })
    const tensor = backend.memory.upload(Float32Array.of(1), [1])
    const { popErrorScope } = device
    // What a device answers that has no room: making one that large would take the machine's.
    device.popErrorScope = async () => {
      await popErrorScope.call(device)
      return new GPUOutOfMemoryError('no room')
    }
    backend.memory.alloc([2 ** 20], 'f32')
    device.popErrorScope = popErrorScope
    const failure = await backend.memory.download(tensor).catch((error: unknown) => error)
    expect(failure).toBeInstanceOf(OutOfMemoryError)
    expect((failure as Error).message).toMatch(/no room for \d+ bytes: no room/)
    expect([...(await backend.memory.download(tensor))], 'the backend goes on').toEqual([1])
    backend.dispose()
    device.destroy()
  })

  test('every download behind a buffer without memory rejects with the cause; the buffer is not used again, and free ones make room', async () => {
    const { device } = await findGpu({})
    const { createBuffer, popErrorScope } = device
    const destroyed: number[] = []
    let isFull = false
    device.createBuffer = (descriptor) => {
      // Of a device that has no room: a buffer that every use of is an error.
      device.pushErrorScope('validation')
      const buffer = createBuffer.call(device, isFull ? { ...descriptor, size: device.limits.maxBufferSize + 4 } : descriptor)
      void popErrorScope.call(device)
      const { destroy } = buffer
      buffer.destroy = () => {
        destroyed.push(descriptor.size)
        return destroy.call(buffer)
      }
      return buffer
    }
    device.popErrorScope = async () => {
      const error = isFull ? new GPUOutOfMemoryError('no room') : null
      return (await popErrorScope.call(device)) ?? error
    }
    const backend = await openWebgpu('swiftshader', { device })
    const { memory } = backend
    memory.alloc([2 ** 12], 'f32').dispose()
    isFull = true
    const tensor = memory.alloc([2 ** 20], 'f32')
    isFull = false
    const downloads = await Promise.allSettled([memory.download(tensor), memory.download(tensor)])
    for (const download of downloads) expect(download).toMatchObject({ status: 'rejected', reason: expect.any(OutOfMemoryError) })
    tensor.dispose()
    expect(destroyed).toEqual(expect.arrayContaining([2 ** 14, 2 ** 22]))
    expect(await memory.download(memory.alloc([2 ** 20], 'f32'))).toHaveLength(2 ** 20)
    backend.dispose()
    device.destroy()
  })

  test('a device that was passed in says nothing of itself, and a device of our own does not outlive a start that fails', async () => {
    const { device } = await findGpu({})
    Object.defineProperty(device, 'adapterInfo', { value: undefined })
    const backend = await openWebgpu('swiftshader', { device })
    expect(backend.device).toMatch(/^WebGPU adapter, /)
    backend.dispose()
    device.createBuffer = () => {
      throw new Error('no buffer')
    }
    vi.stubGlobal('navigator', {
      gpu: { requestAdapter: async () => ({ features: new Set(), limits: {}, info: {}, requestDevice: async () => device }) },
    })
    await expect(openWebgpu()).rejects.toThrow('no buffer')
    vi.unstubAllGlobals()
    expect((await device.lost).reason).toBe('destroyed')
  })

  test('a recorded step is not replayed while another is recorded', async () => {
    const backend = await openWebgpu()
    const tensor = backend.memory.alloc([4], 'f32')
    const step = await backend.capture(() => backend.memory.zero(tensor))
    await expect(backend.capture(() => step.replay())).rejects.toThrow(CaptureError)
    step.replay()
    expect(await backend.memory.download(tensor)).toEqual(new Float32Array(4))
    backend.dispose()
  })
})
