import { RandomStream, type Tensor } from '@phsa/core'
import type { PagedDecoder } from './paged-decoder.js'
import { penalizeSeen } from './repetition-penalty.js'
import type { CompleteSampling } from './sampling-settings.js'

/**
 * Draws the next token of one sequence. What a draw reads is on the device beforehand and rewritten in place, because a captured step uploads
 * nothing; so the seed decides the tokens, not whether a step was recorded.
 */
export class TokenDraw {
  readonly #decoder: PagedDecoder
  readonly #sampling: CompleteSampling
  readonly #random: RandomStream
  /** Ids of prompt and text so far. Only kept for the repetition penalty. */
  readonly #seen = new Set<number>()
  /** i32 [1]: row of the last token. */
  readonly #row: Tensor
  /** f32 [1, 5], see `ModelOps.sample`. */
  readonly #control: Tensor

  constructor(decoder: PagedDecoder, sampling: CompleteSampling) {
    const { memory } = decoder.model.backend
    this.#decoder = decoder
    this.#sampling = sampling
    this.#random = new RandomStream(sampling.seed)
    this.#row = memory.upload(Int32Array.of(0), [1])
    this.#control = memory.upload(this.#controlOf(0), [1, 5])
  }

  /** Takes note of tokens that are read, and of the row of the hidden states that the next draw is from. */
  read(ids: Int32Array): void {
    if (this.#penalizes) for (const id of ids) this.#seen.add(id)
    this.#decoder.model.backend.memory.write(this.#row, Int32Array.of(ids.length - 1))
  }

  /** Writes the next random number: once for each token that is given out, so that the chunks of a prompt do not change the text. */
  advance(): void {
    // 24 bits: more would round up to 1 in f32.
    const uniform = (this.#random.integer() >>> 8) / 2 ** 24
    this.#decoder.model.backend.memory.write(this.#control, this.#controlOf(uniform))
  }

  /** The part of a draw that a step may record. @param hidden [Tq, E] @returns for `token`, the caller disposes it */
  prepare(hidden: Tensor): Tensor {
    const { memory, ops } = this.#decoder.model.backend
    return memory.scope(() => {
      const logits = this.#decoder.logits(hidden, this.#row)
      return this.#penalizes ? logits : ops.sample(logits, this.#control)
    })
  }

  /** The token id from what `prepare` gave. */
  async token(prepared: Tensor): Promise<number> {
    const { memory, ops } = this.#decoder.model.backend
    if (!this.#penalizes) return (await memory.download(prepared))[0]
    const logits = await memory.download(prepared)
    penalizeSeen(logits, this.#seen, this.#sampling.repetitionPenalty)
    const drawn = memory.scope(() => ops.sample(memory.upload(logits, [1, logits.length]), this.#control))
    try {
      return (await memory.download(drawn))[0]
    } finally {
      drawn.dispose()
    }
  }

  dispose(): void {
    this.#row.dispose()
    this.#control.dispose()
  }

  get #penalizes(): boolean {
    return this.#sampling.repetitionPenalty !== 1
  }

  #controlOf(uniform: number): Float32Array {
    const { temperature, topK, topP, minP } = this.#sampling
    return Float32Array.of(temperature, topK, topP, minP, uniform)
  }
}
