// score_blocks.wgsl: selection scores of many queries (spec 4): a matrix product of query heads and representatives into scratch memory, a workgroup
// 128 rows x 128 columns. Scores do not depend on how a sequence is split: see product_tile.wgsl.
// Bound: f32 multiply-adds, 2 Tq Hq (L / m) D, half of them where queries are all tokens.

@group(0) @binding(3) var<storage, read_write> scores: array<vec4f>;  // [items, tileQueries * QUERY_ROWS, capacity], not scaled

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) id: vec3u, @builtin(local_invocation_index) thread: u32) {
  let item = itemAt(id.y);
  let columns = tileColumns(item.tile);
  let firstColumn = id.x * 128u;
  if (firstColumn >= columns) {
    return;
  }
  // The last row and column are repeated past the end.
  let run = loadedRun(thread) * 4u;
  let lastColumn = columns - 1u;
  let loads = Loads(
    vec4u(queryRow(id.y, item, run), queryRow(id.y, item, run + 1u), queryRow(id.y, item, run + 2u), queryRow(id.y, item, run + 3u)),
    columnRows(item, min(firstColumn + run, lastColumn)),
    columnRows(item, min(firstColumn + run + 1u, lastColumn)),
    columnRows(item, min(firstColumn + run + 2u, lastColumn)),
    columnRows(item, min(firstColumn + run + 3u, lastColumn)),
  );
  let products = productTile(loads, loadedRun(thread), thread);
  let own = ownRuns(thread);
  let rows = (item.tile.end - item.tile.first) * QUERY_ROWS;
  let at = firstColumn / 4u + own.column;
  let row = own.row * 4u;
  store(id.y, rows, row, at, products.row0);
  store(id.y, rows, row + 1u, at, products.row1);
  store(id.y, rows, row + 2u, at, products.row2);
  store(id.y, rows, row + 3u, at, products.row3);
  store(id.y, rows, row + 64u, at, products.row64);
  store(id.y, rows, row + 65u, at, products.row65);
  store(id.y, rows, row + 66u, at, products.row66);
  store(id.y, rows, row + 67u, at, products.row67);
}

/** @param run of four columns */
fn store(index: u32, rows: u32, row: u32, run: u32, products: RowProducts) {
  if (row >= rows) {
    return;
  }
  let at = (index * params.tileQueries * QUERY_ROWS + row) * (params.capacity / 4u) + run;
  scores[at] = products.left;
  scores[at + 16u] = products.right;
}
