// score_blocks_few.wgsl: selection scores of few queries, as in decoding (spec 4, 6), into scratch memory.
//
// A workgroup brings 16 columns into workgroup memory, all loads at once, and scores up to 16 rows against them, a product a thread at a time. Parts of a
// column are moved by an exclusive or of the column, so that neighbouring columns lie on different banks.
// Numerics: the sums of score_blocks.wgsl, term by term. Bound: bytes of the representatives; for one query the time that memory takes to answer.

@group(0) @binding(3) var<storage, read_write> scores: array<f32>;  // [items, tileQueries * QUERY_ROWS, capacity], not scaled

const COLUMNS = 16u;
const THREADS = 64u;

var<workgroup> rows: array<vec4f, 512>;     // [16, D / 4]
var<workgroup> columns: array<vec4f, 512>;  // [COLUMNS, D / 4]

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) id: vec3u, @builtin(local_invocation_index) thread: u32) {
  let item = itemAt(id.y);
  let endColumn = tileColumns(item.tile);
  let firstColumn = id.x * COLUMNS;
  if (firstColumn >= endColumn) {
    return;
  }
  let parts = HEAD_DIM / 4u;
  for (var index = thread; index < COLUMNS * parts; index += THREADS) {
    let column = index / parts;
    let part = index % parts;
    columns[column * parts + (part ^ (column % 8u))] = columnPart(columnRows(item, min(firstColumn + column, endColumn - 1u)), part);
  }
  let usedRows = (item.tile.end - item.tile.first) * QUERY_ROWS;
  for (var index = thread; index < usedRows * parts; index += THREADS) {
    rows[index] = vec4f(q[queryRow(id.y, item, index / parts) * parts + index % parts]);
  }
  workgroupBarrier();
  let column = thread % COLUMNS;
  for (var row = thread / COLUMNS; row < usedRows; row += THREADS / COLUMNS) {
    var sum = 0.0;
    for (var part = 0u; part < parts; part++) {
      let own = rows[row * parts + part];
      let other = columns[column * parts + (part ^ (column % 8u))];
      sum = fma(own.w, other.w, fma(own.z, other.z, fma(own.y, other.y, fma(own.x, other.x, sum))));
    }
    scores[(id.y * params.tileQueries * QUERY_ROWS + row) * params.capacity + firstColumn + column] = sum;
  }
}
