import { attentionSpec, PackedLayout, PHSA_4K, uploadLayout } from '@phsa/core'
import { describe, expect, test } from 'vitest'
import { openWebgpu, webgpuUnavailable } from './open-webgpu.js'

const unavailable = await webgpuUnavailable()
const spec = { ...attentionSpec(PHSA_4K, { heads: 1, kvHeads: 1, headDim: 32, dtype: 'f32' }), blockSize: 8, initTokens: 0, localTokens: 8 }

describe.skipIf(unavailable)(`numbers of a layout${unavailable ? ` (${unavailable})` : ''}`, () => {
  test('starts that are rewritten in place are seen by the next call, and by a replay', async () => {
    const backend = await openWebgpu()
    const { memory, attention } = backend
    // Two sequences whose border moves; both layouts have the same extents, four blocks of eight keys.
    const [halves, quarters] = [new PackedLayout([16, 16], 8), new PackedLayout([8, 24], 8)]
    const layout = uploadLayout(memory, halves)
    const k = memory.upload(
      Float32Array.from({ length: 32 * 32 }, (_, index) => Math.floor(index / 32)),
      [32, 1, 32],
    )
    const weights = memory.upload(new Float32Array(32).fill(1 / 8), [32])
    const pool = () => attention.poolBlocks({ k, weights: { kind: 'fused', weights }, layout, spec })
    const firsts = async (reps: ReturnType<typeof pool>) => [...(await memory.download(reps))].filter((_, index) => index % 32 === 0)
    // Blocks begin at multiples of eight in both: a key per block more in the middle would show.
    const means = [3.5, 11.5, 19.5, 27.5]
    expect(await firsts(pool())).toEqual(means)
    const step = await backend.capture(pool)

    memory.write(layout.keyStarts, Int32Array.of(0, 8, 20))
    const shorter = [3.5, 11.5, (16 + 17 + 18 + 19) / 8, 0]
    memory.write(layout.blockStarts, Int32Array.from(quarters.blockStarts))
    expect(await firsts(pool()), 'a call').toEqual(shorter)
    step.replay()
    expect(await firsts(step.result), 'a replay').toEqual(shorter)

    memory.write(layout.keyStarts, Int32Array.from(quarters.keyStarts))
    step.replay()
    expect(await firsts(step.result)).toEqual(means)
    step.dispose()
    expect(() => step.replay()).toThrow(/disposed/)

    // The caller's own commands are not seen here.
    const device = backend.gpuDevice
    const buffer = device.createBuffer({
      size: 16,
      usage: GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST,
    })
    const keyStarts = backend.wrap(buffer, [3], 'i32')
    const poolWrapped = () => attention.poolBlocks({ k, weights: { kind: 'fused', weights }, layout: { ...layout, keyStarts }, spec })
    device.queue.writeBuffer(buffer, 0, Int32Array.from(quarters.keyStarts))
    expect(await firsts(poolWrapped())).toEqual(means)
    device.queue.writeBuffer(buffer, 0, Int32Array.of(0, 8, 20))
    expect(await firsts(poolWrapped()), "the caller's buffer").toEqual(shorter)
    backend.dispose()
  })
})
