import type { HostArray } from '@phsa/core'
import { penalizeSeen } from '@phsa/model'
import type { EngineSampling } from './engine-client.js'

/** The changes to a request's logits that depend on its tokens, on the host: penalties and biases. */
export class LogitAdjustments {
  readonly #sampling: EngineSampling
  /** Of prompt and text. */
  readonly #seen: Set<number>
  /** How often a token is in the text. */
  readonly #counts = new Map<number, number>()

  constructor(sampling: EngineSampling, prompt: Int32Array) {
    this.#sampling = sampling
    this.#seen = new Set(sampling.repetitionPenalty === 1 ? [] : prompt)
  }

  /** Whether logits stay as they are, whatever the text: then nothing has to come to the host. */
  get isNeutral(): boolean {
    const { repetitionPenalty, presencePenalty, frequencyPenalty, logitBias } = this.#sampling
    return repetitionPenalty === 1 && presencePenalty === 0 && frequencyPenalty === 0 && logitBias.length === 0
  }

  /** Takes note of a token of the text. */
  note(id: number): void {
    if (this.isNeutral) return
    this.#seen.add(id)
    this.#counts.set(id, (this.#counts.get(id) ?? 0) + 1)
  }

  /** @param logits [V], changed in place */
  apply(logits: HostArray): void {
    const { repetitionPenalty, presencePenalty, frequencyPenalty, logitBias } = this.#sampling
    if (repetitionPenalty !== 1) penalizeSeen(logits, this.#seen, repetitionPenalty)
    for (const [id, count] of this.#counts) logits[id] -= presencePenalty + count * frequencyPenalty
    for (const [id, bias] of logitBias) logits[id] += bias
  }
}
