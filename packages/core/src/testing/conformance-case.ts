import type { AttentionBackend } from '../contract/attention-backend.js'
import type { AttentionSpec } from '../contract/attention-spec.js'
import type { ModelBackend } from '../contract/model-backend.js'
import type { DType } from '../contract/tensor.js'
import type { OracleStore } from './oracle-store.js'
import type { TensorCheck } from './tensor-check.js'

/** What a case runs with: the backend under test, the reference and what it expects. */
export class CaseContext {
  readonly backend: AttentionBackend
  readonly oracles: OracleStore
  /** Makes another backend of the tested kind. */
  readonly create: () => Promise<AttentionBackend>

  constructor(backend: AttentionBackend, oracles: OracleStore, create: () => Promise<AttentionBackend>) {
    this.backend = backend
    this.oracles = oracles
    this.create = create
  }

  get reference(): ModelBackend {
    return this.oracles.reference
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
  /** The part of the contract that the case is about and a backend may lack. */
  readonly part?: 'capture' | 'collective'
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
