import { BackendLostError, isPhsaError, OutOfMemoryError } from '@phsa/core'
import { describe, expect, test } from 'vitest'
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
})
