import { BackendUnavailableError } from '@phsa/core'

/** Dawn's objects by flags, kept as long as the process lives: one that is collected takes the process down with it. */
const kept = new Map<string, GPU>()

/**
 * WebGPU under Node, from the optional peer `webgpu`.
 * @throws BackendUnavailableError where it is not installed or does not load
 */
export async function dawn(flags: readonly string[]): Promise<GPU> {
  const key = flags.join()
  const known = kept.get(key)
  if (known) return known
  // A name that bundlers for browsers do not follow.
  const name = 'webgpu'
  const module: typeof import('webgpu') = await import(/* @vite-ignore */ name).catch((cause) => {
    throw new BackendUnavailableError(
      `The package webgpu, which brings WebGPU to Node, cannot be loaded; npm install webgpu. (${cause instanceof Error ? cause.message : cause})`,
      { cause },
    )
  })
  // WebGPU's constants, such as GPUBufferUsage, are globals everywhere else.
  for (const [global, value] of Object.entries(module.globals)) if (!(global in globalThis)) Object.assign(globalThis, { [global]: value })
  const gpu = module.create([...flags])
  kept.set(key, gpu)
  return gpu
}
