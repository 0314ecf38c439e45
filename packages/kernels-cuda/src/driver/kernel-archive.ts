import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { BackendUnavailableError } from '@phsa/core'

/** One compiled `.cu` file: its fatbin and the kernels in it. */
export interface KernelModule {
  readonly name: string
  readonly kernels: readonly string[]
  /** What machine code there is: sm_80, sm_89, sm_90a; compute_80 is PTX, which the driver compiles for GPUs after those. */
  readonly targets: readonly string[]
  readonly image: Uint8Array
}

/** All kernels as `scripts/build-kernels.mjs` has built them. */
export interface KernelArchive {
  /** CUDA version that the driver must serve, as `DeviceInfo.driverVersion`. */
  readonly leastDriver: number
  readonly modules: readonly KernelModule[]
}

/** The index beside the fatbin, written by `scripts/build-kernels.mjs`. */
interface KernelIndex {
  readonly leastDriver: number
  readonly modules: readonly (Omit<KernelModule, 'image'> & { readonly offset: number; readonly bytes: number })[]
}

/**
 * Reads the kernels that lie in the built package.
 * @throws BackendUnavailableError where they were not built
 */
export function readKernelArchive(folder = builtFolder()): KernelArchive {
  const [fatbin, index] = ['phsa-kernels.fatbin', 'phsa-kernels.json'].map((name) => join(folder, name))
  if (!existsSync(fatbin) || !existsSync(index)) {
    throw new BackendUnavailableError(
      'cuda: the kernels were not built, because nvcc was missing when this package was built. Install CUDA toolkit 13 and run `node scripts/build-kernels.mjs --required` in packages/kernels-cuda, or install the published package, which has them.',
    )
  }
  const image = readFileSync(fatbin)
  const { leastDriver, modules } = JSON.parse(readFileSync(index, 'utf8')) as KernelIndex
  return {
    leastDriver,
    modules: modules.map(({ offset, bytes, ...module }) => ({ ...module, image: image.subarray(offset, offset + bytes) })),
  }
}

/**
 * Whether code for one of the targets runs on a GPU: machine code on the same major capability from its minor on, with a trailing `a` on exactly its own; PTX on all later ones.
 * @param capability 10 * major + minor
 */
export function runsOn(targets: readonly string[], capability: number): boolean {
  return targets.some((target) => {
    const [, kind, digits, own] = /^(sm|compute)_(\d+)(a?)$/.exec(target) ?? []
    const built = Number(digits)
    if (own) return capability === built
    if (kind === 'compute') return capability >= built
    return Math.floor(capability / 10) === Math.floor(built / 10) && capability >= built
  })
}

/** This file is bundled into dist; from the sources, as tests run it, dist is two folders up. */
function builtFolder(): string {
  const here = new URL('.', import.meta.url)
  return fileURLToPath(here.pathname.endsWith('/src/driver/') ? new URL('../../dist/', here) : here)
}
