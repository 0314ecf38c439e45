import type { AttentionChoice, DecoderModel } from '@phsa/model'
import type { PackedRow } from '../training-data.js'
import { peakTeraflops } from './peak-flops.js'
import { TrainingFlops } from './training-flops.js'

/** Model FLOP utilisation of steps: their `TrainingFlops` over what all devices of the run could do in the same time. */
export class Utilization {
  readonly #flops: TrainingFlops
  /** FLOP/s of all devices. */
  readonly #peak: number | undefined

  /** @param teraflops peak of one device in TFLOP/s; default: that of the model's device, where it is known */
  constructor(model: DecoderModel, teraflops = peakTeraflops(model.backend, model.dtype)) {
    this.#flops = new TrainingFlops(model)
    this.#peak = teraflops === undefined ? undefined : teraflops * 1e12 * (model.backend.collective?.size ?? 1)
  }

  /**
   * Nothing where the peak is not known.
   * @param microBatches those of all ranks
   */
  ofStep(microBatches: readonly (readonly PackedRow[])[], attention: AttentionChoice, seconds: number): { readonly mfu?: number } {
    if (this.#peak === undefined) return {}
    const lengths = microBatches.flat().flatMap(({ sequences }) => sequences.map(({ length }) => length))
    return { mfu: this.#flops.ofStep(lengths, attention) / (seconds * this.#peak) }
  }
}
