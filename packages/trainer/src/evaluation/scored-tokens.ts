import { PackedLayout } from '@phsa/core'
import type { AttentionChoice, DecoderModel, TrainingBatch } from '@phsa/model'

/** Places in the batch from which a token is predicted at position `past` or later. */
export function scoredTokens({ lengths, weights }: TrainingBatch, past: number): number[] {
  // Positions do not depend on the block size.
  const positions = new PackedLayout(lengths, 1).positions()
  return Array.from(weights.keys()).filter((token) => weights[token] !== 0 && positions[token] >= past)
}

/** Negative log-likelihood of the tokens predicted from position `past` on, natural logarithm. */
export async function lossesPast(model: DecoderModel, batch: TrainingBatch, attention: AttentionChoice, past: number): Promise<number[]> {
  const { memory } = model.backend
  const tokenLosses = memory.scope(() => model.loss(batch, attention).tokenLosses)
  try {
    const losses = await memory.download(tokenLosses)
    return scoredTokens(batch, past).map((token) => losses[token])
  } finally {
    tokenLosses.dispose()
  }
}
