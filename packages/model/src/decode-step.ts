import { type CapturedStep, isPhsaError, type ModelBackend, type PhsaConfig, type Tensor } from '@phsa/core'
import type { PagedDecoder, PagedStep } from './paged-decoder.js'
import { disposeChunk, type SequenceChunk, uploadChunk, writeChunk } from './sequence-chunk.js'
import type { TokenDraw } from './token-draw.js'

/** One token through all layers, over and over: its tensors stay in place, so that a backend that can record a step replays it. */
export class DecodeStep {
  readonly #decoder: PagedDecoder
  readonly #step: PagedStep
  readonly #draw: TokenDraw
  #captured: CapturedStep<Tensor> | undefined
  #result: Tensor | undefined
  #hasRoom = true

  /**
   * @param draw the caller's, who disposes it
   * @param first any chunk of one token; `run` rewrites it
   */
  constructor(decoder: PagedDecoder, draw: TokenDraw, first: SequenceChunk, phsa: PhsaConfig) {
    const { memory } = decoder.model.backend
    const { pages, pageTokens } = decoder.options
    this.#decoder = decoder
    this.#step = uploadChunk(memory, first, phsa, { pages, pageTokens, maxKeys: pages * pageTokens })
    this.#draw = draw
  }

  /** Takes the token in and gives what `TokenDraw.token` makes the next one of; overwritten by the next run. */
  async run(chunk: SequenceChunk): Promise<Tensor> {
    const { backend } = this.#decoder.model
    const isFirst = this.#result === undefined
    writeChunk(backend.memory, this.#step, chunk)
    this.#draw.read(chunk.ids)
    this.#draw.advance()
    // Recorded on the second run: the first has compiled everything, and many generations have no second.
    if (!isFirst && backend.capture && !this.#captured && this.#hasRoom) await this.#record(backend.capture.bind(backend))
    if (this.#captured) {
      this.#captured.replay()
      return this.#captured.result
    }
    this.#result?.dispose()
    this.#result = this.#compute()
    return this.#result
  }

  dispose(): void {
    this.#captured?.dispose()
    this.#result?.dispose()
    disposeChunk(this.#step)
  }

  async #record(capture: NonNullable<ModelBackend['capture']>): Promise<void> {
    try {
      this.#captured = await capture(() => this.#compute())
    } catch (error) {
      if (!isPhsaError(error, 'out-of-memory')) throw error
      // The step alone has room, as it had before.
      this.#hasRoom = false
    }
  }

  #compute(): Tensor {
    const decoder = this.#decoder
    return decoder.model.backend.memory.scope(() => this.#draw.prepare(decoder.advance(this.#step)))
  }
}
