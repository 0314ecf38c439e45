// selection_scores.wgsl: scores of queries against representatives in scratch memory, shared by the kernels that write them and the one that chooses.
//
// An item is a tile of queries of one KV head; a launch works on consecutive items. A query has one row of scores for each head of the group, or one
// for all of them where heads are added up first (logit). Columns are representatives, or means of two neighbours for overlapping kernels.

struct Params {
  sequences: Sequences,
  rules: Rules,
  firstItem: u32,
  items: u32,
  capacity: u32,     // columns of a row of scores, a multiple of 128
  tileQueries: u32,
}

override HEAD_DIM: u32;
override SCORE: u32;
/** Rows of scores of a query. */
override QUERY_ROWS: u32;

@group(0) @binding(8) var<uniform> params: Params;

struct Item {
  tile: QueryTile,
  kvHead: u32,
}

/** @param index in this launch */
fn itemAt(index: u32) -> Item {
  let item = params.firstItem + index;
  return Item(queryTile(item / params.rules.kvHeads, params.tileQueries), item % params.rules.kvHeads);
}

/** Columns that a query at this position is scored against: sub-blocks of complete blocks, or kernels of two sub-blocks that are wholly past. */
fn scoredColumns(position: u32) -> u32 {
  if (SCORE == OVERLAP) {
    return max(1u, (position + 1u) / (params.rules.blockSize / params.rules.representatives)) - 1u;
  }
  return (position + 1u) / params.rules.blockSize * params.rules.representatives;
}

/** Whether the scores of a query decide anything: it has more candidates than it may choose. */
fn hasChoice(query: Query) -> bool {
  let candidates = candidateBlocks(query.position, query.denseBelow);
  return candidates.y - candidates.x > query.topK;
}

/** Columns that the scores of a tile reach to, 0 where nothing is to be scored. The last query has all that any query of the tile has. */
fn tileColumns(tile: QueryTile) -> u32 {
  if (tile.first >= tile.end || tile.sequence == params.sequences.count) {
    return 0u;
  }
  let last = queryOf(tile.sequence, tile.end - 1u);
  return select(0u, scoredColumns(last.position), hasChoice(last));
}
