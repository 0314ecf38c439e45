import { validSpec } from '../checks/check-spec.js'
import type { Attention } from '../contract/attention.js'
import { type BackendLimits, CONTRACT_VERSION, type Support } from '../contract/attention-backend.js'
import type { AttentionSpec } from '../contract/attention-spec.js'
import type { Memory } from '../contract/memory.js'
import type { ModelBackend } from '../contract/model-backend.js'
import type { ModelOps } from '../contract/model-ops.js'
import type { PagedAttention } from '../contract/paged-attention.js'
import type { BackendLostError } from '../errors/backend-lost-error.js'
import { UnsupportedError } from '../errors/unsupported-error.js'
import { HostMemory } from './host-memory.js'
import { referenceAttention } from './reference-attention.js'
import { referenceOps } from './reference-ops.js'
import { referencePaged } from './reference-paged.js'

/** Options of the reference backend. */
export interface ReferenceOptions {
  /** Bytes that tensors and caches may hold together; default: no limit of its own. Beyond it calls throw OutOfMemoryError. */
  readonly memoryLimit?: number
}

/**
 * The naive backend that all others are compared with: plain loops on the host, every result computed in float64 and rounded once to
 * its tensor's type. Readable first; a new backend copies its shape and replaces its kernels.
 */
export class ReferenceBackend implements ModelBackend {
  readonly contractVersion = CONTRACT_VERSION
  readonly name = 'reference'
  readonly device = 'host, float64'
  readonly limits: BackendLimits = { dtypes: ['f32', 'bf16', 'f16', 'f64'], blocking: true }
  readonly memory: Memory
  readonly attention: Attention
  readonly paged: PagedAttention
  readonly ops: ModelOps
  /** The host is never lost. */
  readonly lost = new Promise<BackendLostError>(() => undefined)
  readonly #memory: HostMemory

  constructor({ memoryLimit }: ReferenceOptions = {}) {
    this.#memory = new HostMemory(this, { name: this.name, supports: (spec) => this.supports(spec) }, memoryLimit)
    this.memory = this.#memory
    this.attention = referenceAttention(this.#memory)
    this.paged = referencePaged(this.#memory)
    this.ops = referenceOps(this.#memory)
  }

  supports(spec: AttentionSpec): Support {
    return validSpec(spec, this.limits.dtypes)
  }

  /** Nothing is compiled; the specs are checked. */
  async prepare(specs: readonly AttentionSpec[]): Promise<void> {
    this.#memory.checkOpen()
    for (const spec of specs) {
      const support = this.supports(spec)
      if (!support.ok) throw new UnsupportedError('attention-spec', `${this.name}: ${support.reason}`)
    }
  }

  dispose(): void {
    this.#memory.close()
  }
}

/** The float64 reference backend. Works everywhere, so it never rejects; slow by design. */
export async function reference(options: ReferenceOptions = {}): Promise<ModelBackend> {
  return new ReferenceBackend(options)
}
