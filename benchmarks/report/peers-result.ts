/** One peer on one shape, as `peers/attention.py` writes it. Plain JSON. */
export interface PeerRow {
  readonly peer: string
  readonly name: string
  readonly shape: {
    readonly heads: number
    readonly kvHeads: number
    readonly length: number
    readonly blockSize: number
    readonly initTokens: number
    readonly localTokens: number
    readonly topK: number
  }
  readonly passes: 'forward' | 'forward + backward'
  readonly data?: 'A' | 'B'
  readonly milliseconds?: number
  readonly deviation?: number
  readonly samples?: readonly number[]
  readonly relativeError?: number
  /** Why there is no figure. */
  readonly skipped?: string
}

/** The result file of the peers. Plain JSON. */
export interface PeersResult {
  readonly format: 'phsa-peers/1'
  readonly device: string
  readonly versions: Readonly<Record<string, string | number>>
  /** What the GPU attains: FLOP/s of a bf16 matrix product, bytes/s of a copy (read and written). */
  readonly rates: { readonly matrixFlops: number; readonly copyBytes: number }
  readonly rows: readonly PeerRow[]
}
