import { createHash } from 'node:crypto'
import type { PhsaConfig } from '@phsa/core'
import type { EngineAttention } from './engine-client.js'

/** Everything besides the tokens that decides what a page holds, and who may find it. */
export interface PageIdentity {
  /** Name of the selection policy. */
  readonly policy: string
  /** Windows, lambda, representatives, score, dense layers; its topK is overridden by `attention`. */
  readonly phsa: PhsaConfig
  readonly dtype: string
  /** How the request attends: keys of all layers but the first depend on what earlier layers saw. */
  readonly attention: EngineAttention
  readonly salt: string
}

/** What the hashes of a request's pages start from: requests of another identity never find them. */
export function rootHash({ policy, phsa, dtype, attention, salt }: PageIdentity): string {
  const { topK: _, ...settings } = phsa
  const sorted = Object.entries(settings).sort(([a], [b]) => (a < b ? -1 : 1))
  return createHash('sha256')
    .update(JSON.stringify([policy, sorted, dtype, attention === 'dense' ? 'dense' : attention.topK, salt]))
    .digest('base64')
}

/** Hash of a full page: of its tokens and of all before it, through the hash of the page before. SHA-256, because a found page is used unseen. */
export function pageHash(previous: string, tokens: Int32Array): string {
  return createHash('sha256')
    .update(previous)
    .update(new Uint8Array(tokens.buffer, tokens.byteOffset, tokens.byteLength))
    .digest('base64')
}
