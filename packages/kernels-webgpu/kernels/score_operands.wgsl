// score_operands.wgsl: the two operands of selection scores, four dimensions at a time: rows of queries and columns of representatives.

@group(0) @binding(1) var<storage, read> q: array<Element4>;          // [Tq, Hq, D], or [items, tileQueries, D] where heads are added up
@group(0) @binding(2) var<storage, read> reps: array<vec4f>;          // see representativeRow

/** Row of q of a row of a tile; the last one past the end. @param index of the item in this launch */
fn queryRow(index: u32, item: Item, row: u32) -> u32 {
  let query = min(row / QUERY_ROWS, item.tile.end - item.tile.first - 1u);
  if (SCORE == LOGIT) {
    return index * params.tileQueries + query;
  }
  return (item.tile.first + query) * params.rules.heads + item.kvHead * QUERY_ROWS + row % QUERY_ROWS;
}

/** Rows of `reps` that a column is made of: the same one twice, or two neighbours for overlapping kernels. @param column at most the last one */
fn columnRows(item: Item, column: u32) -> vec2u {
  let row = representativeRow(item.tile.sequence, item.kvHead, column);
  if (SCORE != OVERLAP) {
    return vec2u(row, row);
  }
  return vec2u(row, representativeRow(item.tile.sequence, item.kvHead, column + 1u));
}

fn columnPart(rows: vec2u, part: u32) -> vec4f {
  let parts = HEAD_DIM / 4u;
  if (SCORE != OVERLAP) {
    return reps[rows.x * parts + part];
  }
  return (reps[rows.x * parts + part] + reps[rows.y * parts + part]) * 0.5;
}
