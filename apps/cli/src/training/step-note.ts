import type { StepEvent } from '@phsa/trainer'
import { formatCount, formatPercent } from '../terminal/format.js'

/** What the progress of training says; measurements that are not made at each step stay until the next one. */
export class StepNote {
  #recall: StepEvent['recall']
  #validation: StepEvent['validation']

  /** @returns parts with " | " between, those that may go first on a narrow terminal last */
  of({ loss, distillationLoss, topK, tokensPerSecond, mfu, skipped, spike, recall, validation }: StepEvent): string {
    this.#recall = recall ?? this.#recall
    this.#validation = validation ?? this.#validation
    const distilled = distillationLoss === undefined ? '' : ` distil ${distillationLoss.toFixed(3)}`
    const parts = [
      `loss ${loss.toFixed(3)}${distilled}`,
      skipped ? 'skipped' : spike && 'spike',
      topK === 'dense' ? 'dense' : `topK ${topK}`,
      `${formatCount(tokensPerSecond)} tokens/s`,
      mfu === undefined ? undefined : `MFU ${formatPercent(mfu)}`,
      this.#recall && `recall ${formatPercent(this.#recall.mean)}`,
      this.#validation && `validation perplexity ${this.#validation.perplexity.toFixed(2)}`,
    ]
    return parts.filter((part) => part !== undefined).join(' | ')
  }
}
