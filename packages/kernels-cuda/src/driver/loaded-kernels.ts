import { UnsupportedError } from '@phsa/core'
import type { CudaDriver, Handle } from './cuda-driver.js'
import type { KernelModule } from './kernel-archive.js'
import { Result } from './result-codes.js'

/** A kernel that can be launched. */
export interface LoadedKernel {
  readonly handle: Handle
  /** Dynamic shared memory that it may take so far, bytes. */
  sharedBytes: number
}

/** CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES */
const MAX_DYNAMIC_SHARED_SIZE_BYTES = 8
/** CU_FUNC_ATTRIBUTE_NON_PORTABLE_CLUSTER_SIZE_ALLOWED: clusters of more than eight thread blocks. */
const LARGE_CLUSTERS = 14
/** CU_FUNC_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT, percent: what of a multiprocessor's L1 cache is shared memory. */
const SHARED_MEMORY_CARVEOUT = 9
/** Kernels for Hopper alone. */
const HOPPER = '_sm90'
/** Kernels that begin beside the one in front: a multiprocessor whose cache is divided otherwise would have to be empty first. */
const BESIDE_OTHERS = ['few_rows_', 'heads_rope']

/** Kernels in one context. A module is loaded when the first of its kernels is asked for. */
export class LoadedKernels {
  readonly #driver: CudaDriver
  readonly #check: (call: string, result: number) => void
  readonly #moduleOf = new Map<string, KernelModule>()
  readonly #modules = new Map<KernelModule, Handle>()
  readonly #kernels = new Map<string, LoadedKernel | undefined>()
  /** What the driver said of clusters: asking takes longer than a launch. */
  readonly #clusters = new Map<string, number>()

  /**
   * @param modules those with code for the GPU
   * @param check throws for a result that is no success
   */
  constructor(driver: CudaDriver, modules: readonly KernelModule[], check: (call: string, result: number) => void) {
    this.#driver = driver
    this.#check = check
    for (const module of modules) for (const kernel of module.kernels) this.#moduleOf.set(kernel, module)
  }

  /** Whether there is such a kernel for this GPU: some are written for one generation only. */
  has(name: string): boolean {
    return this.#find(name) !== undefined
  }

  /**
   * A kernel that may take so much dynamic shared memory.
   * @throws UnsupportedError where it was not built for this GPU; CudaError where the GPU has less memory
   */
  get(name: string, sharedBytes: number): Handle {
    const kernel = this.#find(name)
    if (!kernel)
      throw new UnsupportedError(
        'kernel',
        `cuda: there is no kernel ${name} for this GPU; build the kernels for it, or use another backend.`,
      )
    if (sharedBytes > kernel.sharedBytes) {
      this.#check('cuFuncSetAttribute', this.#driver.cuFuncSetAttribute(kernel.handle, MAX_DYNAMIC_SHARED_SIZE_BYTES, sharedBytes))
      kernel.sharedBytes = sharedBytes
    }
    return kernel.handle
  }

  /** How many clusters of a kernel the GPU runs at once where nothing else does; 0 where it has no kernel of that name. */
  clustersAtOnce(name: string, cluster: number, threads: number, sharedBytes: number): number {
    const asked = `${name} ${cluster} ${threads} ${sharedBytes}`
    const known = this.#clusters.get(asked)
    if (known !== undefined) return known
    if (!this.has(name)) return 0
    const handle = this.get(name, sharedBytes)
    const count = new Int32Array(1)
    const result = this.#driver.cuOccupancyMaxActiveClusters(count, handle, cluster, threads, sharedBytes)
    this.#check(`cuOccupancyMaxActiveClusters of ${name}`, result)
    this.#clusters.set(asked, count[0])
    return count[0]
  }

  /** Loads one module, so that no first launch waits for it. @returns false where all were loaded */
  loadNext(): boolean {
    const next = [...this.#moduleOf.values()].find((module) => !this.#modules.has(module))
    if (next) this.#load(next)
    return next !== undefined
  }

  /** Unloads all modules. */
  unload(): void {
    for (const handle of this.#modules.values()) this.#check('cuModuleUnload', this.#driver.cuModuleUnload(handle))
    this.#modules.clear()
    this.#kernels.clear()
  }

  #find(name: string): LoadedKernel | undefined {
    if (this.#kernels.has(name)) return this.#kernels.get(name)
    const module = this.#moduleOf.get(name)
    const kernel = module && this.#lookUp(this.#load(module), name)
    this.#kernels.set(name, kernel)
    return kernel
  }

  #lookUp(module: Handle, name: string): LoadedKernel | undefined {
    const handle = new BigUint64Array(1)
    const result = this.#driver.cuModuleGetFunction(handle, module, name)
    if (result === Result.notFound) return undefined
    this.#check(`cuModuleGetFunction of ${name}`, result)
    if (name.includes(HOPPER)) this.#check('cuFuncSetAttribute', this.#driver.cuFuncSetAttribute(handle[0], LARGE_CLUSTERS, 1))
    if (BESIDE_OTHERS.some((beginning) => name.startsWith(beginning))) {
      this.#check('cuFuncSetAttribute', this.#driver.cuFuncSetAttribute(handle[0], SHARED_MEMORY_CARVEOUT, 100))
    }
    // What every kernel may take without asking, 48 KB, is less by what it declares itself, which is not known here.
    return { handle: handle[0], sharedBytes: 0 }
  }

  #load(module: KernelModule): Handle {
    const loaded = this.#modules.get(module)
    if (loaded !== undefined) return loaded
    const handle = new BigUint64Array(1)
    const result = this.#driver.cuModuleLoadData(handle, module.image)
    this.#check(`cuModuleLoadData of ${module.name}`, result)
    this.#modules.set(module, handle[0])
    return handle[0]
  }
}
