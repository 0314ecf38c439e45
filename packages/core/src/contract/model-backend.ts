import type { AttentionBackend } from './attention-backend.js'
import type { DecodeLayersInput } from './decode-layers.js'
import type { ModelOps } from './model-ops.js'
import type { Tensor } from './tensor.js'

/** A recorded step. Replays with whatever its input tensors hold at that time. */
export interface CapturedStep<T> {
  /** What the recorded function returned; its tensors are overwritten by each replay and freed by `dispose`. */
  readonly result: T
  replay(): void
  dispose(): void
}

/**
 * A pending all-reduce. Work queued after `wait` sees its result; work queued before overlaps with it and may neither read nor write the
 * tensors. They stay alive until `wait`, also past a scope's end.
 */
export interface CollectiveTicket {
  wait(): void
}

/** One rank of a data-parallel group. */
export interface Collective {
  readonly rank: number
  readonly size: number
  /** Sums the tensors over all ranks, in place. A peer that fails settles `lost`. */
  allReduce(tensors: readonly Tensor[]): CollectiveTicket
}

/** A backend that runs whole models: attention plus the ops of a decoder and of its training step. */
export interface ModelBackend extends AttentionBackend {
  readonly ops: ModelOps

  /**
   * All layers of a step of decoding at once (spec 1, 4, 5, 6): [T, E] before the final norm, with the new tokens in the caches, as `projectHeads`, `attendStep`
   * and `finishLayer` of each layer give it; roundings in between may be left out. Optional: a backend may have it for some cases only, and answers undefined,
   * with nothing done, for all others, which the caller then takes layer by layer. Before it is recorded it is called once, like any step.
   * @throws ShapeError, BackendMismatchError, DisposedError: see `checkDecodeLayers`
   */
  decodeLayers?(input: DecodeLayersInput): Tensor | undefined

  /**
   * Records the work that `step` queues, without running it, for cheap replay (a CUDA graph). Where it is missing, call `step` each time.
   * Run `step` once before, so that everything is compiled. Inside, `upload`, `write`, `download` and `createCache` throw `CaptureError`: all that
   * changes between replays is written, outside, into tensors that the step reads and that outlive it. `alloc`'s zeros and `zero` are replayed.
   * `step` is run as in `Memory.scope`; what it throws rejects the promise, and nothing of it is left.
   */
  capture?<T>(step: () => T): Promise<CapturedStep<T>>

  readonly collective?: Collective
}
