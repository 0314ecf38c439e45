import { densePolicy, type PunctuationTable, phsaPolicy } from '@phsa/core'
import type { AttentionChoice } from './attention-choice.js'
import { DecodeStep } from './decode-step.js'
import type { DecoderModel } from './decoder-model.js'
import { InvalidInputError } from './invalid-input-error.js'
import { defaultPageTokens, PagedDecoder } from './paged-decoder.js'
import { completeSampling, type SamplingSettings } from './sampling-settings.js'
import { type SequenceChunk, uploadChunk } from './sequence-chunk.js'
import { requireIds } from './token-batch.js'
import { TokenDraw } from './token-draw.js'

/** How much to generate, from what attention, and when to stop. */
export interface GenerateOptions {
  /** Most tokens to make; 0 makes none. */
  readonly maxNewTokens: number
  /** Default: PHSA with the model's own parameters. */
  readonly attention?: AttentionChoice | 'dense'
  /** Without it no token counts as punctuation, and a block's representative is its mean. */
  readonly punctuation?: PunctuationTable
  /** Prompt tokens worked on at once: less memory and a quicker answer to `signal` when smaller. Default: 512 where work blocks the calling thread, else 4096. */
  readonly prefillChunk?: number
  /** Ids that end the text; default: the model's. They are not given out. */
  readonly stopTokenIds?: readonly number[]
  /** Without it the likeliest token is taken each time. */
  readonly sampling?: SamplingSettings
  readonly signal?: AbortSignal
}

/**
 * Continues a prompt, one token id at a time, on a paged cache: the prompt in chunks, then token by token. Ends at a stop token or at
 * `maxNewTokens`. Everything it holds on the backend is freed when it ends, fails, or the caller stops asking.
 * @throws InvalidInputError for an empty prompt, ids outside the vocabulary, more tokens than the model has positions, or a sampling setting out of its
 * bounds; the signal's reason when it aborts
 */
export async function* generate(
  model: DecoderModel,
  prompt: Int32Array,
  options: GenerateOptions,
): AsyncGenerator<number, void, undefined> {
  const { maxNewTokens, punctuation, stopTokenIds = model.config.eosTokenIds, signal } = options
  const { prefillChunk = model.backend.limits.blocking ? 512 : 4096 } = options
  requirePrompt(model, prompt, maxNewTokens, prefillChunk)
  const sampling = completeSampling(options.sampling)
  signal?.throwIfAborted()
  if (maxNewTokens === 0) return

  const attention = attentionOf(model, options.attention)
  const phsa = attention.policy.configure(attention.phsa)
  const pageTokens = defaultPageTokens(phsa.blockSize)
  // The last token that is made is never read again, so it needs no place.
  const pages = Math.ceil((prompt.length + maxNewTokens - 1) / pageTokens)
  const chunkOf = (ids: Int32Array, start: number): SequenceChunk => ({
    ids,
    punctuation: punctuation ? punctuation.marks(ids) : new Uint8Array(ids.length),
    start,
  })
  const { memory, limits } = model.backend
  const decoder = new PagedDecoder(model, { attention, pages, pageTokens })
  let draw: TokenDraw | undefined
  let decode: DecodeStep | undefined
  let id = -1
  try {
    draw = new TokenDraw(decoder, sampling)
    for (let start = 0; start < prompt.length; start += prefillChunk) {
      const chunk = chunkOf(prompt.subarray(start, start + prefillChunk), start)
      draw.read(chunk.ids)
      if (start + prefillChunk >= prompt.length) draw.advance()
      // Asked for after every chunk, though only the last answer counts: waiting for it bounds the queue, and an abort is heard in between.
      const prepared = memory.scope(() => draw!.prepare(decoder.advance(uploadChunk(memory, chunk, phsa, { pages, pageTokens }))))
      try {
        id = await draw.token(prepared)
      } finally {
        prepared.dispose()
      }
      if (limits.blocking) await eventLoopTurn()
      signal?.throwIfAborted()
    }
    for (let made = 1; ; made++) {
      signal?.throwIfAborted()
      if (stopTokenIds.includes(id)) return
      yield id
      if (made === maxNewTokens) return
      signal?.throwIfAborted()
      const chunk = chunkOf(Int32Array.of(id), prompt.length + made - 1)
      decode ??= new DecodeStep(decoder, draw, chunk, phsa)
      id = await draw.token(await decode.run(chunk))
      if (limits.blocking) await eventLoopTurn()
    }
  } finally {
    decode?.dispose()
    draw?.dispose()
    decoder.dispose()
  }
}

function attentionOf(model: DecoderModel, choice: AttentionChoice | 'dense' | undefined): AttentionChoice {
  if (choice === 'dense') return { policy: densePolicy, phsa: model.phsa }
  return choice ?? { policy: phsaPolicy, phsa: model.phsa }
}

function requirePrompt(model: DecoderModel, prompt: Int32Array, maxNewTokens: number, prefillChunk: number): void {
  const { vocabSize, maxPositions } = model.config
  if (prompt.length === 0) throw new InvalidInputError('the prompt has no tokens; give at least one to continue from.')
  if (!Number.isInteger(maxNewTokens) || maxNewTokens < 0) {
    throw new InvalidInputError(`maxNewTokens is ${maxNewTokens}; it must be an integer of at least 0.`)
  }
  if (!Number.isInteger(prefillChunk) || prefillChunk < 1) {
    throw new InvalidInputError(`prefillChunk is ${prefillChunk}; it must be an integer of at least 1.`)
  }
  if (prompt.length + maxNewTokens > maxPositions) {
    throw new InvalidInputError(
      `the prompt has ${prompt.length} tokens and ${maxNewTokens} more were asked for; this model takes ${maxPositions} together.`,
    )
  }
  requireIds(prompt, vocabSize, 'prompt')
}

/** Lets timers and requests run, an abort among them, where the backend computes on this thread. */
function eventLoopTurn(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, 0))
}
