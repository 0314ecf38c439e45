import type { BackendLostError } from '../errors/backend-lost-error.js'
import type { Attention } from './attention.js'
import type { AttentionSpec } from './attention-spec.js'
import type { Memory } from './memory.js'
import type { PagedAttention } from './paged-attention.js'
import type { DType } from './tensor.js'

/**
 * Version of the contract in this folder. It grows with every incompatible change; `assertContract` compares it when a backend is
 * handed over, because core and a backend can be installed at different versions.
 */
export const CONTRACT_VERSION = 1

/** What a device can do at all, whatever the spec; `supports` answers for a spec. */
export interface BackendLimits {
  /** Element types that tensors and attention take. */
  readonly dtypes: readonly DType[]
  /** True when work runs on the calling thread and so blocks the event loop: applications put such a backend in a worker. */
  readonly blocking: boolean
}

/** The answer to "can you do this?": yes, or the reason why not. */
export type Support = { readonly ok: true } | { readonly ok: false; readonly reason: string }

/**
 * A device that computes PHSA attention: the first tier of the contract. Backends are values, made by an asynchronous factory that rejects with
 * `BackendUnavailableError` and the reason when it cannot work. Whoever creates one disposes it.
 */
export interface AttentionBackend {
  readonly contractVersion: number
  /** Short name as in `--backend NAME`: reference, tfjs, webgpu, cuda. */
  readonly name: string
  /** The device in words, for logs and result files. */
  readonly device: string
  readonly limits: BackendLimits
  readonly memory: Memory
  readonly attention: Attention
  readonly paged: PagedAttention

  /** Whether this spec works here; a no names the value and what is allowed. */
  supports(spec: AttentionSpec): Support

  /** Compiles what the specs need, so that the first call is not slow. Optional to call; rejects with `UnsupportedError`. */
  prepare(specs: readonly AttentionSpec[]): Promise<void>

  /** Settles when the device is lost, never rejects; pending forever otherwise, also after `dispose`. From then on every method but `dispose` throws it. */
  readonly lost: Promise<BackendLostError>

  /** Frees everything. Later calls throw `DisposedError`. Disposing twice is allowed. */
  dispose(): void
}
