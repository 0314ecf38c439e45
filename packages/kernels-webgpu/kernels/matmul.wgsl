// matmul.wgsl: result [rows, columns] = left [rows, depth] right [depth, columns], each operand as it lies in memory or transposed.
//
// A workgroup owns a tile of the result, a thread 8 x 8 of it as two by two squares of 4 x 4, so that the threads of a row read neighbouring vectors. Steps of 16 in
// depth lie in workgroup memory with the depth as the slow index; what lies the other way round in memory is transposed in registers, 4 x 4 at a time. The next step is on its way
// from memory while one is multiplied, loaded without a condition, so that nothing waits for it. With a second stage (STAGES) a step takes one barrier, not two. Where the tiles
// are few, workgroups share the depth and write their parts one behind the other (matmul_sum.wgsl adds them). Bound: f32 multiply-adds.
//
// Rows and columns past the end are worth anything and are not written; depth past the end is 0, not multiplied by 0: it may be NaN.

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

/** Multiples of 64, with 64 elements a thread. */
override TILE_ROWS: u32;
override TILE_COLUMNS: u32;
override THREADS: u32;
override STAGES: u32;
/** 1 where the rows in memory are the columns of the matrix. */
override LEFT_TRANSPOSED: u32;
override RIGHT_TRANSPOSED: u32;

const TILE_DEPTH = 16u;
/** Tiles of so many rows follow one another, so that the operands of those in flight stay in the cache. */
const GROUPED_TILES = 8u;

override LEFT_FOURS = TILE_ROWS / 4u;
override RIGHT_FOURS = TILE_COLUMNS / 4u;

@group(0) @binding(8) var<uniform> params: Params;

/** [stage][depth][row / 4]; within a run of eight the place is exchanged by `swizzle`. */
var<workgroup> leftTile: array<vec4f, STAGES * TILE_DEPTH * LEFT_FOURS>;
var<workgroup> rightTile: array<vec4f, STAGES * TILE_DEPTH * RIGHT_FOURS>;

/** Spreads the squares that neighbouring threads write over the banks. @param depthFour depth / 4 */
fn swizzle(depthFour: u32) -> u32 {
  return depthFour * 2u;
}

/** Elements from `first` on that are left of `extent`. */
fn available(first: u32, extent: u32) -> u32 {
  return extent - min(first, extent);
}

/** Square `index` of a tile: x which four rows (left) or columns (right), y which four of the depth. Neighbours read neighbouring memory. */
fn squareOf(index: u32, fours: u32, alongDepth: bool) -> vec2u {
  const depthFours = TILE_DEPTH / 4u;
  if (alongDepth) {
    return vec2u(index / depthFours, index % depthFours);
  }
  return vec2u(index % fours, index / fours);
}

/** Four depths of four rows: a column of the square is one depth. What is past the end is anything, and masked or never stored. */
fn loadLeft(first: u32) -> mat4x4<Element> {
  let stride = params.leftStride;
  let square = mat4x4<Element>(leftFour(first), leftFour(first + stride), leftFour(first + 2u * stride), leftFour(first + 3u * stride));
  if (LEFT_TRANSPOSED == 0u) {
    return transpose(square);
  }
  return square;
}

fn loadRight(first: u32) -> mat4x4<Element> {
  let stride = params.rightStride;
  let square = mat4x4<Element>(rightFour(first), rightFour(first + stride), rightFour(first + 2u * stride), rightFour(first + 3u * stride));
  if (RIGHT_TRANSPOSED == 1u) {
    return transpose(square);
  }
  return square;
}

/** One depth of a square, 0 past the end. */
fn depthOf(four: Element4, depth: u32, endDepth: u32) -> vec4f {
  return select(vec4f(), vec4f(four), depth < endDepth);
}

fn keepLeft(square: vec2u, stage: u32, fours: mat4x4<Element>, firstDepth: u32, endDepth: u32) {
  let place = (stage * TILE_DEPTH + square.y * 4u) * LEFT_FOURS + (square.x ^ swizzle(square.y));
  let depth = firstDepth + square.y * 4u;
  leftTile[place] = depthOf(fours[0], depth, endDepth);
  leftTile[place + LEFT_FOURS] = depthOf(fours[1], depth + 1u, endDepth);
  leftTile[place + 2u * LEFT_FOURS] = depthOf(fours[2], depth + 2u, endDepth);
  leftTile[place + 3u * LEFT_FOURS] = depthOf(fours[3], depth + 3u, endDepth);
}

fn keepRight(square: vec2u, stage: u32, fours: mat4x4<Element>, firstDepth: u32, endDepth: u32) {
  let place = (stage * TILE_DEPTH + square.y * 4u) * RIGHT_FOURS + (square.x ^ swizzle(square.y));
  let depth = firstDepth + square.y * 4u;
  rightTile[place] = depthOf(fours[0], depth, endDepth);
  rightTile[place + RIGHT_FOURS] = depthOf(fours[1], depth + 1u, endDepth);
  rightTile[place + 2u * RIGHT_FOURS] = depthOf(fours[2], depth + 2u, endDepth);
  rightTile[place + 3u * RIGHT_FOURS] = depthOf(fours[3], depth + 3u, endDepth);
}

/** One row of four columns of the result. */
fn storeRow(part: u32, row: u32, column: u32, values: vec4f) {
  if (row < params.rows) {
    let first = params.resultFirst + part * params.partElements + row * params.resultStride + column;
    storeFour(first, available(column, params.columns), values, params.accumulate == 1u);
  }
}

/** Four rows of four columns of the result. */
fn storeSquare(part: u32, row: u32, column: u32, sums: mat4x4f) {
  storeRow(part, row, column, sums[0]);
  storeRow(part, row + 1u, column, sums[1]);
  storeRow(part, row + 2u, column, sums[2]);
  storeRow(part, row + 3u, column, sums[3]);
}

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) id: vec3u, @builtin(num_workgroups) count: vec3u, @builtin(local_invocation_index) thread: u32) {
  let tileRows = (params.rows + TILE_ROWS - 1u) / TILE_ROWS;
  let tileColumns = (params.columns + TILE_COLUMNS - 1u) / TILE_COLUMNS;
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
  let firstRow = (group + inGroup % grouped) * TILE_ROWS;
  let firstColumn = inGroup / grouped * TILE_COLUMNS;
  let startDepth = part * params.partDepth;
  let endDepth = min(startDepth + params.partDepth, params.depth);

  // A thread brings a square of each operand, or, where threads are plenty, of one.
  let splits = THREADS >= TILE_ROWS + TILE_COLUMNS;
  let rightIndex = select(thread, thread - TILE_ROWS, splits);
  let bringsLeft = thread < TILE_ROWS;
  let bringsRight = rightIndex < TILE_COLUMNS;
  let leftSquare = squareOf(thread, LEFT_FOURS, LEFT_TRANSPOSED == 0u);
  let rightSquare = squareOf(rightIndex, RIGHT_FOURS, RIGHT_TRANSPOSED == 1u);
  let leftStep = select(TILE_DEPTH * params.leftStride, TILE_DEPTH, LEFT_TRANSPOSED == 0u);
  let rightStep = select(TILE_DEPTH * params.rightStride, TILE_DEPTH, RIGHT_TRANSPOSED == 1u);
  // Rows, or columns, and depths of the squares.
  let leftAt = vec2u(firstRow + leftSquare.x * 4u, startDepth + leftSquare.y * 4u);
  let rightAt = vec2u(firstColumn + rightSquare.x * 4u, startDepth + rightSquare.y * 4u);
  var leftFirst = params.leftFirst + select(leftAt.y * params.leftStride + leftAt.x, leftAt.x * params.leftStride + leftAt.y, LEFT_TRANSPOSED == 0u);
  var rightFirst = params.rightFirst + select(rightAt.y * params.rightStride + rightAt.x, rightAt.x * params.rightStride + rightAt.y, RIGHT_TRANSPOSED == 1u);

  // 32 neighbouring threads are 4 rows by 8 columns of squares.
  const lanes = 32u;
  let across = TILE_COLUMNS / 64u;
  let rowFour = thread / lanes / across * 4u + thread % lanes / 8u;
  let columnFour = thread / lanes % across * 8u + thread % 8u;

  // Rows 0 to 3 of the upper squares and of the lower ones, left columns and right ones.
  var upperLeft = mat4x4f();
  var upperRight = mat4x4f();
  var lowerLeft = mat4x4f();
  var lowerRight = mat4x4f();
  var nextLeft: mat4x4<Element>;
  var nextRight: mat4x4<Element>;
  if (bringsLeft) {
    nextLeft = loadLeft(leftFirst);
  }
  if (bringsRight) {
    nextRight = loadRight(rightFirst);
  }
  var stage = 0u;
  for (var depth = startDepth; depth < endDepth; depth += TILE_DEPTH) {
    if (bringsLeft) {
      keepLeft(leftSquare, stage, nextLeft, depth, endDepth);
    }
    if (bringsRight) {
      keepRight(rightSquare, stage, nextRight, depth, endDepth);
    }
    workgroupBarrier();
    leftFirst += leftStep;
    rightFirst += rightStep;
    if (bringsLeft) {
      nextLeft = loadLeft(leftFirst);
    }
    if (bringsRight) {
      nextRight = loadRight(rightFirst);
    }
    for (var depthFour = 0u; depthFour < TILE_DEPTH / 4u; depthFour++) {
      let leftPlace = (stage * TILE_DEPTH + depthFour * 4u) * LEFT_FOURS + (rowFour ^ swizzle(depthFour));
      let rightPlace = (stage * TILE_DEPTH + depthFour * 4u) * RIGHT_FOURS + (columnFour ^ swizzle(depthFour));
      for (var one = 0u; one < 4u; one++) {
        let left = leftPlace + one * LEFT_FOURS;
        let right = rightPlace + one * RIGHT_FOURS;
        let upper = leftTile[left];
        let lower = leftTile[left + LEFT_FOURS / 2u];
        let leftColumns = rightTile[right];
        let rightColumns = rightTile[right + RIGHT_FOURS / 2u];
        upperLeft[0] = fma(vec4f(upper.x), leftColumns, upperLeft[0]);
        upperLeft[1] = fma(vec4f(upper.y), leftColumns, upperLeft[1]);
        upperLeft[2] = fma(vec4f(upper.z), leftColumns, upperLeft[2]);
        upperLeft[3] = fma(vec4f(upper.w), leftColumns, upperLeft[3]);
        upperRight[0] = fma(vec4f(upper.x), rightColumns, upperRight[0]);
        upperRight[1] = fma(vec4f(upper.y), rightColumns, upperRight[1]);
        upperRight[2] = fma(vec4f(upper.z), rightColumns, upperRight[2]);
        upperRight[3] = fma(vec4f(upper.w), rightColumns, upperRight[3]);
        lowerLeft[0] = fma(vec4f(lower.x), leftColumns, lowerLeft[0]);
        lowerLeft[1] = fma(vec4f(lower.y), leftColumns, lowerLeft[1]);
        lowerLeft[2] = fma(vec4f(lower.z), leftColumns, lowerLeft[2]);
        lowerLeft[3] = fma(vec4f(lower.w), leftColumns, lowerLeft[3]);
        lowerRight[0] = fma(vec4f(lower.x), rightColumns, lowerRight[0]);
        lowerRight[1] = fma(vec4f(lower.y), rightColumns, lowerRight[1]);
        lowerRight[2] = fma(vec4f(lower.z), rightColumns, lowerRight[2]);
        lowerRight[3] = fma(vec4f(lower.w), rightColumns, lowerRight[3]);
      }
    }
    if (STAGES == 1u) {
      workgroupBarrier();
    } else {
      stage = 1u - stage;
    }
  }

  let row = firstRow + rowFour * 4u;
  let column = firstColumn + columnFour * 4u;
  let lowerRow = row + TILE_ROWS / 2u;
  let rightColumn = column + TILE_COLUMNS / 2u;
  storeSquare(part, row, column, upperLeft);
  storeSquare(part, lowerRow, column, lowerLeft);
  storeSquare(part, row, rightColumn, upperRight);
  storeSquare(part, lowerRow, rightColumn, lowerRight);
}
