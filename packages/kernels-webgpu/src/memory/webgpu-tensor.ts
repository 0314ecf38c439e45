import { type DType, type SharedStorage, type TensorView, UnsupportedError } from '@phsa/core'
import type { DeviceBuffer } from '../device/kernel-launch.js'

/** Device memory that a tensor and its views share. */
export interface Storage extends SharedStorage {
  readonly memory: DeviceBuffer
}

/** Element types that tensors of this backend may have; f16 where the device has it. */
export type HeldDType = 'f32' | 'f16' | 'i32'

/** A tensor of this backend. */
export type WebgpuTensor = TensorView<Storage, HeldDType>

/** @throws UnsupportedError for a type that this backend does not hold */
export function checkHeld(dtype: DType, hasF16: boolean): asserts dtype is HeldDType {
  if (dtype === 'f32' || dtype === 'i32' || (dtype === 'f16' && hasF16)) return
  const held = hasF16 ? 'f32, f16 and i32' : 'f32 and i32 (f16 needs a device with shader-f16)'
  throw new UnsupportedError('dtype', `dtype is ${dtype}; webgpu holds ${held}. Convert it, or use another backend.`)
}
