import type { SharedStorage, TensorView } from '@phsa/core'
import type { FloatElements } from './elements.js'

/** Elements that a tensor and its views share. Integers are layouts, rows and page tables, which only the host reads: they stay there. */
export interface Storage extends SharedStorage {
  readonly floats: FloatElements | undefined
  readonly integers: Int32Array | undefined
  readonly bytes: number
}

/** A tensor of this backend. */
export type TfjsTensor = TensorView<Storage>
