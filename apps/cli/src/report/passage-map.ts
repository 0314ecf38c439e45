/** A key block as one policy treats it for one query. */
export type BlockState = 'forced' | 'selected' | 'candidate' | 'hidden'

/** What one policy makes of one passage, for one layer and KV head. */
export interface PolicyMap {
  readonly policy: string
  /** For each query of `PassageMap.queries`, the selected blocks, ascending. */
  readonly selected: readonly (readonly number[])[]
}

/** A passage with its blocks, and what queries select from it. The embedding-free part is always there; the rest needs a model. */
export interface PassageMap {
  /** Text of each token. */
  readonly tokens: readonly string[]
  /** 1 for punctuation, else 0; as long as `tokens`. */
  readonly punctuation: readonly number[]
  /** Weight of each token in its block's representative (spec 3); as long as `tokens`. */
  readonly weights: readonly number[]
  readonly blockSize: number
  readonly initTokens: number
  readonly localTokens: number
  readonly topK: number
  readonly lambda: number
  /** Positions of the queries whose selection is known, ascending. */
  readonly queries: readonly number[]
  /** The query that the block grid shows. */
  readonly query: number
  readonly policies: readonly PolicyMap[]
  /** Dense attention probability on each block for `query`, 0 to 1; absent without a model. */
  readonly mass?: readonly number[]
  /** Where the keys come from, in words: "layer 2, KV head 0"; absent without a model. */
  readonly source?: string
}

/** Number of blocks, the last one maybe partial. */
export function blockCount({ tokens, blockSize }: Pick<PassageMap, 'tokens' | 'blockSize'>): number {
  return Math.ceil(tokens.length / blockSize)
}

/** State of every block for the query at `position` (spec 4). @param selected blocks that a policy chose */
export function blockStates(
  { tokens, blockSize, initTokens, localTokens }: Pick<PassageMap, 'tokens' | 'blockSize' | 'initTokens' | 'localTokens'>,
  position: number,
  selected: readonly number[] = [],
): BlockState[] {
  const own = Math.floor(position / blockSize)
  return Array.from({ length: Math.ceil(tokens.length / blockSize) }, (_, block) => {
    if (block > own) return 'hidden'
    if (block < initTokens / blockSize || block > own - localTokens / blockSize) return 'forced'
    return selected.includes(block) ? 'selected' : 'candidate'
  })
}
