// matmul.wgsl: result [rows, columns] = left [rows, depth] right [depth, columns], in tiles of product_squares.wgsl.
//
// Where the tiles are few, workgroups share the depth and write their parts one behind the other (matmul_sum.wgsl adds them).

struct Params {
  rows: u32,
  columns: u32,
  depth: u32,
  parts: u32,          // workgroups that share a tile's depth
  partDepth: u32,      // a multiple of 16
  partElements: u32,   // from one part's result to the next
  accumulate: u32,     // 1: added to the result
  leftFirst: u32,      // elements before a matrix, and from one of its rows in memory to the next
  leftStride: u32,
  rightFirst: u32,
  rightStride: u32,
  resultFirst: u32,
  resultStride: u32,
}

/** Tiles of so many rows follow one another, so that the operands of those in flight stay in the cache. */
const GROUPED_TILES = 8u;

@group(0) @binding(8) var<uniform> params: Params;

/** The tile of a workgroup; its own number is the first element of its part's result. */
fn placeOf(index: u32) -> Place {
  let tileRows = (params.rows + TILE - 1u) / TILE;
  let tileColumns = (params.columns + TILE - 1u) / TILE;
  let tiles = tileRows * tileColumns;
  let part = index / tiles;
  if (part >= params.parts) {
    return Place();
  }
  let tile = index % tiles;
  let group = tile / (GROUPED_TILES * tileColumns) * GROUPED_TILES;
  let grouped = min(GROUPED_TILES, tileRows - group);
  let inGroup = tile % (GROUPED_TILES * tileColumns);
  let row = (group + inGroup % grouped) * TILE;
  let column = inGroup / grouped * TILE;
  let depth = part * params.partDepth;
  let left = select(row * params.leftStride + depth, depth * params.leftStride + row, LEFT_TRANSPOSED == 1u);
  let right = select(depth * params.rightStride + column, column * params.rightStride + depth, RIGHT_TRANSPOSED == 1u);
  return Place(
    true, row, column, min(params.partDepth, params.depth - depth), params.leftFirst + left, params.leftStride, params.rightFirst + right,
    params.rightStride, vec4u(params.resultFirst + part * params.partElements));
}

/** Elements from `first` on that are left of `extent`. */
fn available(first: u32, extent: u32) -> u32 {
  return extent - min(first, extent);
}

fn leaveRow(place: Place, row: u32, column: u32, values: vec4f) {
  if (row < params.rows) {
    storeFour(place.own.x + row * params.resultStride + column, available(column, params.columns), values, params.accumulate == 1u);
  }
}
