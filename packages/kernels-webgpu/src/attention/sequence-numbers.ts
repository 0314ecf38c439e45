import type { Layout, PagedBatch, Tensor } from '@phsa/core'
import type { GpuDevice } from '../device/gpu-device.js'
import type { BufferSlice, DeviceBuffer } from '../device/kernel-launch.js'
import type { WebgpuMemory } from '../memory/webgpu-memory.js'

/** Sets of numbers that are kept: a step uses one layout for all layers, or a batch and a layout. */
const MOST_KEPT = 4

/** Numbers of tensors put one behind the other, and what they were made of. */
interface Kept {
  readonly sources: readonly DeviceBuffer[]
  readonly versions: readonly number[]
  readonly lengths: readonly number[]
  readonly numbers: BufferSlice
  release(): void
}

/** Where the key starts of a packed layout begin in its numbers. @param sequences S */
export function keyStartsAt(sequences: number): number {
  return sequences + 1
}

/** Where the block starts of a packed layout begin in its numbers. @param sequences S */
export function blockStartsAt(sequences: number): number {
  return 2 * (sequences + 1)
}

/** Where the tensors of a paged batch begin in its numbers: queryStarts stand first. */
export function pagedNumbersAt({ sequences, pageTable }: PagedBatch) {
  const keyStarts = sequences + 1
  const pageTableAt = keyStarts + sequences
  const topK = pageTableAt + sequences * pageTable.shape[1]
  return { queryStarts: 0, keyStarts, blockStarts: pageTableAt, topK, denseBelow: topK + sequences }
}

/**
 * The small integer tensors of a layout or a batch in one buffer, because a kernel may bind eight. They are copied on the device, once, until one of
 * them is written.
 */
export class SequenceNumbers {
  readonly #device: GpuDevice
  readonly #memory: WebgpuMemory
  #kept: Kept[] = []

  constructor(device: GpuDevice, memory: WebgpuMemory) {
    this.#device = device
    this.#memory = memory
  }

  /** Numbers of a packed layout: query, key and block starts. */
  ofLayout({ queryStarts, keyStarts, blockStarts }: Layout): BufferSlice {
    return this.#together([queryStarts, keyStarts, blockStarts])
  }

  /** Numbers of a paged batch, as `pagedNumbersAt` says. */
  ofBatch({ queryStarts, keyLengths, pageTable, topK, denseBelow }: PagedBatch): BufferSlice {
    return this.#together([queryStarts, keyLengths, pageTable, topK, denseBelow])
  }

  /** Forgets what is kept: a recorded step copies for itself, each time it is replayed. */
  forget(): void {
    for (const { release } of this.#kept) release()
    this.#kept = []
  }

  #together(tensors: readonly Tensor[]): BufferSlice {
    const slices = tensors.map((tensor) => this.#memory.slice(tensor))
    const sources = slices.map(({ storage }) => storage)
    const found = this.#kept.findIndex(
      (each) =>
        each.sources.length === sources.length &&
        each.sources.every(
          (source, index) =>
            source === sources[index] && each.versions[index] === source.version && each.lengths[index] === tensors[index].shape[0],
        ),
    )
    if (found >= 0) return this.#kept[found].numbers
    const counts = tensors.map(({ shape }) => shape.reduce((product, extent) => product * extent, 1))
    const { slice: numbers, release } = this.#memory.keep(counts.reduce((sum, count) => sum + count, 0) * 4)
    let offset = 0
    slices.forEach((slice, index) => {
      const bytes = counts[index] * 4
      if (bytes > 0) this.#device.copy({ ...slice, bytes }, { storage: numbers.storage, offset, bytes })
      offset += bytes
    })
    this.#kept.unshift({
      sources,
      versions: sources.map(({ version }) => version),
      lengths: tensors.map(({ shape }) => shape[0]),
      numbers,
      release,
    })
    for (const old of this.#kept.splice(MOST_KEPT)) old.release()
    return numbers
  }
}
