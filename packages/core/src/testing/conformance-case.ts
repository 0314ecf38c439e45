import type { AttentionBackend } from '../contract/attention-backend.js'
import type { AttentionSpec } from '../contract/attention-spec.js'
import type { ModelBackend } from '../contract/model-backend.js'
import type { DType } from '../contract/tensor.js'
import type { AttentionCase, TestedDType } from './attention-case.js'
import { attentionInputs } from './attention-inputs.js'
import { AttentionOracle } from './attention-oracle.js'
import type { TensorCheck } from './tensor-check.js'

/** What a case runs with: the backend under test and the reference. */
export class CaseContext {
  readonly backend: AttentionBackend
  readonly reference: ModelBackend
  /** Makes another backend of the tested kind. */
  readonly create: () => Promise<AttentionBackend>
  #oracle: { readonly key: string; readonly oracle: AttentionOracle } | undefined

  constructor(backend: AttentionBackend, reference: ModelBackend, create: () => Promise<AttentionBackend>) {
    this.backend = backend
    this.reference = reference
    this.create = create
  }

  /** Expected values of an attention case; the last one is kept, because the checks of a case follow each other. */
  oracle(attentionCase: AttentionCase, dtype: TestedDType): AttentionOracle {
    const key = `${dtype}/${attentionCase.name}`
    if (this.#oracle?.key !== key) {
      const spec = { ...attentionCase.spec, dtype }
      this.#oracle = { key, oracle: new AttentionOracle(this.reference, spec, attentionInputs(attentionCase, dtype)) }
    }
    return this.#oracle.oracle
  }

  /** The ops of the backend under test; only for cases that need them. */
  get model(): ModelBackend {
    if (!hasOps(this.backend)) throw new TypeError(`${this.backend.name} has no ops; a case that needs them must say so.`)
    return this.backend
  }
}

/** One case of the suite: data to choose and report it by, and what runs it. */
export interface ConformanceCase {
  /** `dtype/check/name`, for instance `f32/attend/g4-h2-d64-t150`. */
  readonly name: string
  readonly dtype: DType
  /** Cases that need `ops` are only for a `ModelBackend`. */
  readonly needs: 'attention' | 'ops'
  /** What the backend must support; the case is skipped with its reason where it does not. */
  readonly specs: readonly AttentionSpec[]
  /** Multiplications and additions of the kernel, for benchmarks; 0 where it says nothing. */
  readonly flops: number
  run(context: CaseContext): Promise<TensorCheck[]>
}

/** Whether a backend runs whole models. */
export function hasOps(backend: AttentionBackend): backend is ModelBackend {
  return 'ops' in backend && backend.ops !== undefined
}
