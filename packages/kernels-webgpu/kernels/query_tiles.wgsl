// query_tiles.wgsl: consecutive query rows of one sequence that a workgroup works on together.

struct QueryTile {
  sequence: u32,  // S for rows that belong to none
  first: u32,
  end: u32,
}

/**
 * Tile `index` of those that cover each sequence by itself: sequence s has the tiles from queryStart(s) / size + s on, which is as many as it can need.
 * There are queryTokens / size + S + 1 in all, and a tile may be empty, so that the grid follows from capacities alone.
 */
fn queryTile(index: u32, size: u32) -> QueryTile {
  var low = 0u;
  var high = params.sequences.count;
  while (low < high) {
    let middle = (low + high + 1u) / 2u;
    if (queryStart(middle) / size + middle <= index) {
      low = middle;
    } else {
      high = middle - 1u;
    }
  }
  let start = queryStart(low);
  let first = start + (index - start / size - low) * size;
  var end = params.sequences.queryTokens;
  if (low < params.sequences.count) {
    end = queryStart(low + 1u);
  }
  return QueryTile(low, first, min(first + size, end));
}
