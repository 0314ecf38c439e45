/** Blocks whose keys reach the bound of best_blocks.wgsl, with room to spare for keys in no order: about topK log(64 / (64 - topK)) / log(64 / 63). */
export function mostRanked(topK: number): number {
  return topK <= 32 ? 128 : 512
}
