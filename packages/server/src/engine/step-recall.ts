import { isDense } from '@phsa/core'
import type { AttentionWatch, PagedDecoder } from '@phsa/model'
import { DENSE_THROUGHOUT, type StepTokens } from './step-arrays.js'

/**
 * Attention-mass recall of one decoding step (spec 9): the share of dense attention that falls on the keys its queries saw, mean over those whose sequence
 * is longer than they can see, over query heads and sparse layers. A second, dense attention over the same caches gives it: the ratio of both softmax sums.
 */
export class StepRecall {
  readonly #decoder: PagedDecoder
  readonly #sequences: readonly StepTokens[]
  /** Natural logarithms of the softmax sums, [S, Hq] of each sparse layer: as it attended, and densely. */
  readonly #sums: Promise<readonly [ArrayLike<number>, ArrayLike<number>]>[] = []

  /** @param sequences of one new token each */
  constructor(decoder: PagedDecoder, sequences: readonly StepTokens[]) {
    this.#decoder = decoder
    this.#sequences = sequences
  }

  /** Whether any query sees less than everything. */
  get hasQueries(): boolean {
    return this.#queries().length > 0
  }

  /** For `PagedDecoder.advance`. */
  readonly watch: AttentionWatch = ({ cache, q, lse, batch }) => {
    if (isDense(cache.options.spec)) return
    const { memory, paged } = this.#decoder.model.backend
    const { sequences } = batch
    const dense = {
      ...batch,
      topK: memory.upload(new Int32Array(sequences), [sequences]),
      denseBelow: memory.upload(new Int32Array(sequences).fill(DENSE_THROUGHOUT), [sequences]),
    }
    const all = paged.attend(cache, q, paged.selectBlocks(cache, q, dense), dense)
    const sums = Promise.all([memory.download(lse), memory.download(all.lse)])
    // Where the step itself fails nobody asks for them.
    sums.catch(() => undefined)
    this.#sums.push(sums)
  }

  /** 0 to 1; undefined where every query saw everything. */
  async value(): Promise<number | undefined> {
    const queries = this.#queries()
    const shares: number[] = []
    for (const sums of this.#sums) {
      const [seen, all] = await sums
      const heads = seen.length / this.#sequences.length
      for (const query of queries) {
        for (let head = query * heads; head < (query + 1) * heads; head++) shares.push(Math.min(1, Math.exp(seen[head] - all[head])))
      }
    }
    return shares.length === 0 ? undefined : shares.reduce((sum, share) => sum + share, 0) / shares.length
  }

  #queries(): number[] {
    const { blockSize, initTokens, localTokens } = this.#decoder.options.attention.phsa
    return [...this.#sequences.keys()].filter((index) => {
      const { start, topK, denseBelow } = this.#sequences[index]
      return start >= denseBelow && start + 1 > initTokens + localTokens + topK * blockSize
    })
  }
}
