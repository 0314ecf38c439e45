// matmul_units.wgsl: matmul.wgsl's product of f16 matrices on matrix units, through the experimental subgroup matrices of Dawn.
//
// Four subgroups own 64 x 64 each of a tile of 128 x 128, as 4 x 4 matrices of 16 x 16 in f32. Steps of 32 in depth lie in workgroup memory as they lie in the
// operand, row by row or column by column, which a subgroup matrix takes either way; eight elements between rows spread them over the banks. The next step is on
// its way from memory while one is multiplied. Results pass through workgroup memory, for edges, addition and rounding. Bound: workgroup memory.
//
// Everything past the end is 0, not multiplied by 0: it may be NaN.

struct Params {
  rows: u32,
  columns: u32,
  depth: u32,
  parts: u32,          // workgroups that share a tile's depth
  partDepth: u32,      // a multiple of 32
  partElements: u32,   // from one part's result to the next
  accumulate: u32,     // 1: added to the result
  leftFirst: u32,      // elements before a matrix, and from one of its rows in memory to the next
  leftStride: u32,
  rightFirst: u32,
  rightStride: u32,
  resultFirst: u32,
  resultStride: u32,
}

/** Invocations of a subgroup: the same everywhere on the device. */
override SUBGROUP: u32;
/** 1 where the rows in memory are the columns of the matrix. */
override LEFT_TRANSPOSED: u32;
override RIGHT_TRANSPOSED: u32;

alias LeftMatrix = subgroup_matrix_left<Element, 16, 16>;
alias RightMatrix = subgroup_matrix_right<Element, 16, 16>;
alias ResultMatrix = subgroup_matrix_result<f32, 16, 16>;

const TILE = 128u;
const TILE_DEPTH = 32u;
const SUBGROUPS = 4u;
/** From one row of a tile in workgroup memory to the next: rows along the depth, or depths along the rows. */
const ALONG = TILE_DEPTH + 8u;
const ACROSS = TILE + 8u;
/** Tiles of so many rows follow one another, so that the operands of those in flight stay in the cache. */
const GROUPED_TILES = 8u;
/** Vectors of four that a tile of an operand has. */
const FOURS = TILE * TILE_DEPTH / 4u;
override THREADS = SUBGROUPS * SUBGROUP;
/** 8 for subgroups of 32, the least that it is used with. */
override FOURS_A_THREAD = FOURS / THREADS;

@group(0) @binding(8) var<uniform> params: Params;

var<workgroup> leftTile: array<Element, TILE * ALONG>;
var<workgroup> rightTile: array<Element, TILE * ALONG>;
/** A matrix of results of each subgroup. */
var<workgroup> sumTile: array<f32, SUBGROUPS * 256u>;

/** Row in memory and element of it, from a tile's beginning, of one of its vectors. */
fn placeOf(four: u32, alongDepth: bool) -> vec2u {
  if (alongDepth) {
    return vec2u(four / (TILE_DEPTH / 4u), four % (TILE_DEPTH / 4u) * 4u);
  }
  return vec2u(four / (TILE / 4u), four % (TILE / 4u) * 4u);
}

fn loadLeft(four: u32, firstRow: u32, firstDepth: u32, endDepth: u32) -> Element4 {
  let alongDepth = LEFT_TRANSPOSED == 0u;
  let place = placeOf(four, alongDepth) + select(vec2u(firstDepth, firstRow), vec2u(firstRow, firstDepth), alongDepth);
  if (any(place >= select(vec2u(endDepth, params.rows), vec2u(params.rows, endDepth), alongDepth))) {
    return Element4();
  }
  return left[(params.leftFirst + place.x * params.leftStride + place.y) / 4u];
}

fn loadRight(four: u32, firstColumn: u32, firstDepth: u32, endDepth: u32) -> Element4 {
  let alongDepth = RIGHT_TRANSPOSED == 1u;
  let place = placeOf(four, alongDepth) + select(vec2u(firstDepth, firstColumn), vec2u(firstColumn, firstDepth), alongDepth);
  if (any(place >= select(vec2u(endDepth, params.columns), vec2u(params.columns, endDepth), alongDepth))) {
    return Element4();
  }
  return right[(params.rightFirst + place.x * params.rightStride + place.y) / 4u];
}

fn keepLeft(four: u32, values: Element4) {
  let place = placeOf(four, LEFT_TRANSPOSED == 0u);
  let first = place.x * select(ACROSS, ALONG, LEFT_TRANSPOSED == 0u) + place.y;
  leftTile[first] = values.x;
  leftTile[first + 1u] = values.y;
  leftTile[first + 2u] = values.z;
  leftTile[first + 3u] = values.w;
}

fn keepRight(four: u32, values: Element4) {
  let place = placeOf(four, RIGHT_TRANSPOSED == 1u);
  let first = place.x * select(ACROSS, ALONG, RIGHT_TRANSPOSED == 1u) + place.y;
  rightTile[first] = values.x;
  rightTile[first + 1u] = values.y;
  rightTile[first + 2u] = values.z;
  rightTile[first + 3u] = values.w;
}

fn leftMatrix(row: u32, depth: u32) -> LeftMatrix {
  if (LEFT_TRANSPOSED == 1u) {
    return subgroupMatrixLoad<LeftMatrix, col_major>(&leftTile, depth * ACROSS + row, ACROSS);
  }
  return subgroupMatrixLoad<LeftMatrix, row_major>(&leftTile, row * ALONG + depth, ALONG);
}

fn rightMatrix(column: u32, depth: u32) -> RightMatrix {
  if (RIGHT_TRANSPOSED == 1u) {
    return subgroupMatrixLoad<RightMatrix, col_major>(&rightTile, column * ALONG + depth, ALONG);
  }
  return subgroupMatrixLoad<RightMatrix, row_major>(&rightTile, depth * ACROSS + column, ACROSS);
}

/** Writes 16 x 16 sums of each subgroup. */
fn storeMatrix(sums: ResultMatrix, subgroup: u32, lane: u32, part: u32, row: u32, column: u32) {
  subgroupMatrixStore<row_major>(&sumTile, subgroup * 256u, sums, 16u);
  workgroupBarrier();
  for (var four = lane; four < 64u; four += SUBGROUP) {
    let place = vec2u(row + four / 4u, column + four % 4u * 4u);
    if (all(place < vec2u(params.rows, params.columns))) {
      let source = subgroup * 256u + four * 4u;
      let values = vec4f(sumTile[source], sumTile[source + 1u], sumTile[source + 2u], sumTile[source + 3u]);
      let first = params.resultFirst + part * params.partElements + place.x * params.resultStride + place.y;
      storeFour(first, 4u, values, params.accumulate == 1u);
    }
  }
  workgroupBarrier();
}

@compute @workgroup_size(THREADS)
fn main(
  @builtin(workgroup_id) id: vec3u,
  @builtin(num_workgroups) count: vec3u,
  @builtin(local_invocation_index) thread: u32,
  @builtin(subgroup_id) subgroup: u32,
  @builtin(subgroup_invocation_id) lane: u32,
) {
  let tileRows = (params.rows + TILE - 1u) / TILE;
  let tileColumns = (params.columns + TILE - 1u) / TILE;
  let tiles = tileRows * tileColumns;
  let index = workgroupIndex(id, count);
  let part = index / tiles;
  if (part >= params.parts) {
    return;
  }
  let tile = index % tiles;
  let group = tile / (GROUPED_TILES * tileColumns) * GROUPED_TILES;
  let grouped = min(GROUPED_TILES, tileRows - group);
  let inGroup = tile % (GROUPED_TILES * tileColumns);
  let firstRow = (group + inGroup % grouped) * TILE;
  let firstColumn = inGroup / grouped * TILE;
  let startDepth = part * params.partDepth;
  let endDepth = min(startDepth + params.partDepth, params.depth);

  let row = subgroup / 2u * 64u;
  let column = subgroup % 2u * 64u;
  // By row and column of the 4 x 4 matrices.
  var sums00: ResultMatrix; var sums01: ResultMatrix; var sums02: ResultMatrix; var sums03: ResultMatrix;
  var sums10: ResultMatrix; var sums11: ResultMatrix; var sums12: ResultMatrix; var sums13: ResultMatrix;
  var sums20: ResultMatrix; var sums21: ResultMatrix; var sums22: ResultMatrix; var sums23: ResultMatrix;
  var sums30: ResultMatrix; var sums31: ResultMatrix; var sums32: ResultMatrix; var sums33: ResultMatrix;
  var nextLeft: array<Element4, 8>;
  var nextRight: array<Element4, 8>;
  let steps = (endDepth - startDepth + TILE_DEPTH - 1u) / TILE_DEPTH;
  // Each turn fetches a step and multiplies the one before.
  for (var step = 0u; step <= steps; step++) {
    if (step < steps) {
      let depth = startDepth + step * TILE_DEPTH;
      for (var turn = 0u; turn < FOURS_A_THREAD; turn++) {
        nextLeft[turn] = loadLeft(turn * THREADS + thread, firstRow, depth, endDepth);
        nextRight[turn] = loadRight(turn * THREADS + thread, firstColumn, depth, endDepth);
      }
    }
    if (step > 0u) {
      for (var depth = 0u; depth < TILE_DEPTH; depth += 16u) {
        let left0 = leftMatrix(row + 0u, depth);
        let left1 = leftMatrix(row + 16u, depth);
        let left2 = leftMatrix(row + 32u, depth);
        let left3 = leftMatrix(row + 48u, depth);
        let right0 = rightMatrix(column + 0u, depth);
        sums00 = subgroupMatrixMultiplyAccumulate(left0, right0, sums00);
        sums10 = subgroupMatrixMultiplyAccumulate(left1, right0, sums10);
        sums20 = subgroupMatrixMultiplyAccumulate(left2, right0, sums20);
        sums30 = subgroupMatrixMultiplyAccumulate(left3, right0, sums30);
        let right1 = rightMatrix(column + 16u, depth);
        sums01 = subgroupMatrixMultiplyAccumulate(left0, right1, sums01);
        sums11 = subgroupMatrixMultiplyAccumulate(left1, right1, sums11);
        sums21 = subgroupMatrixMultiplyAccumulate(left2, right1, sums21);
        sums31 = subgroupMatrixMultiplyAccumulate(left3, right1, sums31);
        let right2 = rightMatrix(column + 32u, depth);
        sums02 = subgroupMatrixMultiplyAccumulate(left0, right2, sums02);
        sums12 = subgroupMatrixMultiplyAccumulate(left1, right2, sums12);
        sums22 = subgroupMatrixMultiplyAccumulate(left2, right2, sums22);
        sums32 = subgroupMatrixMultiplyAccumulate(left3, right2, sums32);
        let right3 = rightMatrix(column + 48u, depth);
        sums03 = subgroupMatrixMultiplyAccumulate(left0, right3, sums03);
        sums13 = subgroupMatrixMultiplyAccumulate(left1, right3, sums13);
        sums23 = subgroupMatrixMultiplyAccumulate(left2, right3, sums23);
        sums33 = subgroupMatrixMultiplyAccumulate(left3, right3, sums33);
      }
    }
    workgroupBarrier();
    if (step < steps) {
      for (var turn = 0u; turn < FOURS_A_THREAD; turn++) {
        keepLeft(turn * THREADS + thread, nextLeft[turn]);
        keepRight(turn * THREADS + thread, nextRight[turn]);
      }
    }
    workgroupBarrier();
  }

  let top = firstRow + row;
  let start = firstColumn + column;
  storeMatrix(sums00, subgroup, lane, part, top + 0u, start + 0u);
  storeMatrix(sums01, subgroup, lane, part, top + 0u, start + 16u);
  storeMatrix(sums02, subgroup, lane, part, top + 0u, start + 32u);
  storeMatrix(sums03, subgroup, lane, part, top + 0u, start + 48u);
  storeMatrix(sums10, subgroup, lane, part, top + 16u, start + 0u);
  storeMatrix(sums11, subgroup, lane, part, top + 16u, start + 16u);
  storeMatrix(sums12, subgroup, lane, part, top + 16u, start + 32u);
  storeMatrix(sums13, subgroup, lane, part, top + 16u, start + 48u);
  storeMatrix(sums20, subgroup, lane, part, top + 32u, start + 0u);
  storeMatrix(sums21, subgroup, lane, part, top + 32u, start + 16u);
  storeMatrix(sums22, subgroup, lane, part, top + 32u, start + 32u);
  storeMatrix(sums23, subgroup, lane, part, top + 32u, start + 48u);
  storeMatrix(sums30, subgroup, lane, part, top + 48u, start + 0u);
  storeMatrix(sums31, subgroup, lane, part, top + 48u, start + 16u);
  storeMatrix(sums32, subgroup, lane, part, top + 48u, start + 32u);
  storeMatrix(sums33, subgroup, lane, part, top + 48u, start + 48u);
}
