import type { ElementType, Kernel } from './shader-part.js'

/** Device memory as a kernel sees it. */
export interface BufferSlice {
  readonly storage: DeviceBuffer
  /** Bytes, a multiple of the device's `minStorageBufferOffsetAlignment`. */
  readonly offset: number
  readonly bytes: number
}

/** A buffer of the device, which counts what is written to it. */
export interface DeviceBuffer {
  readonly buffer: GPUBuffer
  /** Number of this buffer, never given to another one. */
  readonly id: number
  /** Grows with everything that is queued to change it; NaN, which equals no version, where others change it too. */
  version: number
  /** There was no room for it: nothing can be done with it. */
  isVoid?: boolean
}

/** A storage buffer of a kernel, in the order of its bindings: `@group(0) @binding(0)` on. */
export interface Binding extends BufferSlice {
  readonly access: 'read' | 'write'
}

/** Work for the device: one dispatch of a kernel. */
export interface KernelLaunch {
  readonly kernel: Kernel
  readonly element: ElementType
  /** Values of the kernel's `override` constants. */
  readonly constants: Readonly<Record<string, number>>
  readonly bindings: readonly Binding[]
  /** The kernel's `@group(0) @binding(8) var<uniform> params`: at most `MOST_PARAM_BYTES`, see `packParams`. */
  readonly params: Uint8Array<ArrayBuffer>
  /** Workgroups; an extent of 0 is no launch. */
  readonly grid: readonly [number, number, number]
}

/** Room for a kernel's parameters. */
export const MOST_PARAM_BYTES = 256
/** Binding of a kernel's parameters, behind as many storage buffers as a kernel may bind everywhere. */
export const PARAMS_BINDING = 8
