import type { ModelBackend } from '../contract/model-backend.js'
import type { AttentionCase, TestedDType } from './attention-case.js'
import { attentionInputs } from './attention-inputs.js'
import { AttentionOracle } from './attention-oracle.js'

/** Expected values of attention cases. The checks of a case follow each other, so keeping a few is enough; more serve several backends at once. */
export class OracleStore {
  readonly reference: ModelBackend
  readonly #capacity: number
  readonly #oracles = new Map<string, AttentionOracle>()

  /** @param capacity cases that are kept */
  constructor(reference: ModelBackend, capacity = 1) {
    this.reference = reference
    this.#capacity = capacity
  }

  /** The expected values of a case for an element type. */
  oracle(attentionCase: AttentionCase, dtype: TestedDType): AttentionOracle {
    const key = `${dtype}/${attentionCase.name}`
    const known = this.#oracles.get(key)
    if (known) return known
    const [oldest] = this.#oracles.keys()
    if (this.#oracles.size >= this.#capacity && oldest !== undefined) this.#oracles.delete(oldest)
    const made = new AttentionOracle(this.reference, { ...attentionCase.spec, dtype }, attentionInputs(attentionCase, dtype))
    this.#oracles.set(key, made)
    return made
  }
}
