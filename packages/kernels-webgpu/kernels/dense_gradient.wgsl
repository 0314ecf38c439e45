// dense_gradient.wgsl: what the five products have in common that are the gradients of dense attention (spec 5), over a chunk of queries and keys.
//
// Queries and keys are taken in tiles of one sequence each (row_tiles.wgsl). For every pair of a chunk the probability (dense_weights.wgsl) and the
// gradient of its score (dense_scores.wgsl) lie in memory, f32 [Hq, queries, keys]; of these dense_sums.wgsl makes dv, dk and dq. A pair of tiles of which no query
// sees a key is neither written nor read.

struct Params {
  sequences: Sequences,
  rules: Rules,
  firstQueryTile: u32,  // the chunk
  queryTiles: u32,
  firstKeyTile: u32,
  keyTiles: u32,
  member: u32,          // which of the query heads of a KV head its keys get sums of
}

override HEAD_DIM: u32;
/** Query heads of a KV head. */
override GROUP: u32;

@group(0) @binding(8) var<uniform> params: Params;

/** The first tile of a sequence, see rowTile. */
fn firstTile(starts: u32, sequence: u32) -> u32 {
  return u32(sequenceNumbers[starts + sequence]) / TILE + sequence;
}

/** Position of a sequence's first query. */
fn firstPosition(sequence: u32) -> u32 {
  return keyCount(sequence) - (queryStart(sequence + 1u) - queryStart(sequence));
}
