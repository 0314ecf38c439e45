import type { FakeMemory } from './fake-memory.js'

/** What a kernel does to the memory: nothing, but for one of `kernels/memory.cu`. */
export function runFakeKernel(kernel: string, params: Uint8Array, memory: FakeMemory): void {
  if (kernel !== 'convert_f32_bf16') return
  const view = new DataView(params.buffer)
  const [source, target, count] = [view.getBigUint64(0, true), view.getBigUint64(8, true), Number(view.getBigInt64(16, true))]
  for (let index = 0; index < count; index++) {
    // Truncated, not rounded: what the kernel does is tested on a GPU, and in the emulation.
    memory.at(target + BigInt(2 * index), 2).set(memory.at(source + BigInt(4 * index + 2), 2))
  }
}
