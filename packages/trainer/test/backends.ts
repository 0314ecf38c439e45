import { type ModelBackend, reference } from '@phsa/core'
import { tfjs } from '@phsa/kernels-tfjs'

/** A backend under test; whoever creates one disposes it. */
export interface TestedBackend {
  readonly name: string
  create(): Promise<ModelBackend>
}

/** The backends that training tests run on; the first has every element type. */
export const testedBackends: readonly TestedBackend[] = [
  { name: 'reference', create: () => reference() },
  { name: 'tfjs', create: () => tfjs({ engine: 'wasm' }) },
]
