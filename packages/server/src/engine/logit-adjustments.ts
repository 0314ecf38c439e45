import type { HostArray } from '@phsa/core'
import { penalizeSeen } from '@phsa/model'
import { forbidOthers, type TextConstraint } from '../constrain/text-constraint.js'
import type { EngineSampling } from './engine-client.js'

/** The changes to a request's logits that depend on its tokens, on the host: penalties, biases, and what a grammar forbids. */
export class LogitAdjustments {
  readonly #sampling: EngineSampling
  readonly #constraint: TextConstraint | undefined
  /** Of prompt and text. */
  readonly #seen: Set<number>
  /** How often a token is in the text. */
  readonly #counts = new Map<number, number>()

  constructor(sampling: EngineSampling, prompt: Int32Array, constraint?: TextConstraint) {
    this.#sampling = sampling
    this.#constraint = constraint
    this.#seen = new Set(sampling.repetitionPenalty === 1 ? [] : prompt)
  }

  /** Whether logits stay as they are, whatever the text: then nothing has to come to the host. */
  get isNeutral(): boolean {
    if (this.#constraint) return false
    const { repetitionPenalty, presencePenalty, frequencyPenalty, logitBias } = this.#sampling
    return repetitionPenalty === 1 && presencePenalty === 0 && frequencyPenalty === 0 && logitBias.length === 0
  }

  /** Whether they are not known yet. */
  get isPending(): boolean {
    return this.#constraint !== undefined && this.#constraint.allowed === undefined
  }

  /** Resolves when they are known; never where the grammar fails. */
  get known(): Promise<void> {
    return this.#constraint?.known ?? Promise.resolve()
  }

  /** Takes note of a token of the text. */
  note(id: number): void {
    if (this.isNeutral) return
    this.#constraint?.accept(id)
    this.#seen.add(id)
    this.#counts.set(id, (this.#counts.get(id) ?? 0) + 1)
  }

  /** @param logits [V], changed in place */
  apply(logits: HostArray): void {
    const { repetitionPenalty, presencePenalty, frequencyPenalty, logitBias } = this.#sampling
    if (repetitionPenalty !== 1) penalizeSeen(logits, this.#seen, repetitionPenalty)
    for (const [id, count] of this.#counts) logits[id] -= presencePenalty + count * frequencyPenalty
    for (const [id, bias] of logitBias) logits[id] += bias
    if (this.#constraint?.allowed) forbidOthers(logits, this.#constraint.allowed)
  }
}
