// product_squares.wgsl: a workgroup multiplies TILE rows by TILE columns, each operand as it lies in memory or transposed.
//
// A thread owns 8 rows, four in each half of the tile, by RUNS runs of four columns, in variables by name. Steps of 16 in depth lie in workgroup memory
// with the depth as the slow index; what lies the other way round in memory is transposed in registers, 4 x 4 at a time. Every thread brings one
// square of each operand, and the next ones are on their way while a step is multiplied, loaded without a condition, so that nothing waits for them.
// Bound: f32 multiply-adds.
//
// In front of a kernel that has leftFour and rightFour (four elements from one on), placeOf (where a workgroup's tile is) and
// leaveRow (four columns of a row of the result). With TILE, RUNS and THREADS of squares_128.wgsl or squares_64.wgsl.
//
// What a kernel loads of rows and columns past the end is worth anything and is not to be left; depth past the end is 0, not multiplied by 0: it may
// be NaN.

/** 1 where the rows in memory are the columns of the matrix. */
override LEFT_TRANSPOSED: u32;
override RIGHT_TRANSPOSED: u32;
/** 1 where depths are not multiples of TILE_DEPTH. */
override RAGGED_DEPTH: u32;

const TILE_DEPTH = 16u;
const DEPTH_PARTS = TILE_DEPTH / 4u;
const HALF = TILE / 2u;

/** What a workgroup multiplies. */
struct Place {
  isUsed: bool,       // there is a tile for the workgroup
  firstRow: u32,      // of the result
  firstColumn: u32,
  depth: u32,
  left: u32,          // element of the first row and depth, and from one row in memory to the next
  leftStride: u32,
  right: u32,
  rightStride: u32,
  own: vec4u,         // what leaveRow wants to know besides
}

/**
 * [depth / 4][depth % 4][half][row / 4]: a run in place n lies in [n ^ (depth / 4 * 2)], so that neither writing nor reading meets a bank twice. An extent
 * for each index: what is constant needs no check of bounds.
 */
var<workgroup> leftTile: array<array<array<array<vec4f, HALF / 4u>, 2>, 4>, DEPTH_PARTS>;
var<workgroup> rightTile: array<array<array<array<vec4f, TILE / 4u / RUNS>, RUNS>, 4>, DEPTH_PARTS>;

/** Square `index` of a tile: x which four rows or columns, y which four of the depth. Neighbours read neighbouring memory. */
fn squareOf(index: u32, alongDepth: bool) -> vec2u {
  if (alongDepth) {
    return vec2u(index / DEPTH_PARTS, index % DEPTH_PARTS);
  }
  return vec2u(index % (TILE / 4u), index / (TILE / 4u));
}

/** Element of a square. */
fn squareAt(square: vec2u, stride: u32, alongDepth: bool) -> u32 {
  if (alongDepth) {
    return square.x * 4u * stride + square.y * 4u;
  }
  return square.y * 4u * stride + square.x * 4u;
}

/** One depth of a square, 0 past the end. */
fn depthOf(values: vec4f, depth: u32, end: u32) -> vec4f {
  if (RAGGED_DEPTH == 1u) {
    return select(vec4f(), values, depth < end);
  }
  return values;
}

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) id: vec3u, @builtin(num_workgroups) count: vec3u, @builtin(local_invocation_index) thread: u32) {
  let place = placeOf(workgroupIndex(id, count));
  if (!place.isUsed) {
    return;
  }
  let leftAlong = LEFT_TRANSPOSED == 0u;
  let rightAlong = RIGHT_TRANSPOSED == 1u;
  let leftSquare = squareOf(thread, leftAlong);
  let rightSquare = squareOf(thread, rightAlong);
  let leftStride = place.leftStride;
  let rightStride = place.rightStride;
  let leftStep = select(TILE_DEPTH * leftStride, TILE_DEPTH, leftAlong);
  let rightStep = select(TILE_DEPTH * rightStride, TILE_DEPTH, rightAlong);
  var left = place.left + squareAt(leftSquare, leftStride, leftAlong);
  var right = place.right + squareAt(rightSquare, rightStride, rightAlong);
  let leftHalf = leftSquare.x / (HALF / 4u);
  let leftPlace = (leftSquare.x % (HALF / 4u)) ^ (leftSquare.y * 2u);
  let rightRun = rightSquare.x / (TILE / 4u / RUNS);
  let rightPlace = (rightSquare.x % (TILE / 4u / RUNS)) ^ (rightSquare.y * 2u);
  // 32 neighbouring threads are 4 rows by 8 columns of squares.
  let ownRow = thread / 32u * 4u + thread % 32u / 8u;
  let ownColumn = thread % 8u;

  // A row of the thread, by its run.
  var s00 = vec4f(); var s01 = vec4f(); var s02 = vec4f(); var s03 = vec4f();
  var s10 = vec4f(); var s11 = vec4f(); var s12 = vec4f(); var s13 = vec4f();
  var s20 = vec4f(); var s21 = vec4f(); var s22 = vec4f(); var s23 = vec4f();
  var s30 = vec4f(); var s31 = vec4f(); var s32 = vec4f(); var s33 = vec4f();
  var s40 = vec4f(); var s41 = vec4f(); var s42 = vec4f(); var s43 = vec4f();
  var s50 = vec4f(); var s51 = vec4f(); var s52 = vec4f(); var s53 = vec4f();
  var s60 = vec4f(); var s61 = vec4f(); var s62 = vec4f(); var s63 = vec4f();
  var s70 = vec4f(); var s71 = vec4f(); var s72 = vec4f(); var s73 = vec4f();

  var left0 = leftFour(left);
  var left1 = leftFour(left + leftStride);
  var left2 = leftFour(left + 2u * leftStride);
  var left3 = leftFour(left + 3u * leftStride);
  var right0 = rightFour(right);
  var right1 = rightFour(right + rightStride);
  var right2 = rightFour(right + 2u * rightStride);
  var right3 = rightFour(right + 3u * rightStride);
  for (var depth = 0u; depth < place.depth; depth += TILE_DEPTH) {
    let leftDepth = depth + leftSquare.y * 4u;
    let rightDepth = depth + rightSquare.y * 4u;
    if (leftAlong) {
      let turned = transpose(mat4x4f(vec4f(left0), vec4f(left1), vec4f(left2), vec4f(left3)));
      leftTile[leftSquare.y][0][leftHalf][leftPlace] = depthOf(turned[0], leftDepth, place.depth);
      leftTile[leftSquare.y][1][leftHalf][leftPlace] = depthOf(turned[1], leftDepth + 1u, place.depth);
      leftTile[leftSquare.y][2][leftHalf][leftPlace] = depthOf(turned[2], leftDepth + 2u, place.depth);
      leftTile[leftSquare.y][3][leftHalf][leftPlace] = depthOf(turned[3], leftDepth + 3u, place.depth);
    } else {
      leftTile[leftSquare.y][0][leftHalf][leftPlace] = depthOf(vec4f(left0), leftDepth, place.depth);
      leftTile[leftSquare.y][1][leftHalf][leftPlace] = depthOf(vec4f(left1), leftDepth + 1u, place.depth);
      leftTile[leftSquare.y][2][leftHalf][leftPlace] = depthOf(vec4f(left2), leftDepth + 2u, place.depth);
      leftTile[leftSquare.y][3][leftHalf][leftPlace] = depthOf(vec4f(left3), leftDepth + 3u, place.depth);
    }
    if (rightAlong) {
      let turned = transpose(mat4x4f(vec4f(right0), vec4f(right1), vec4f(right2), vec4f(right3)));
      rightTile[rightSquare.y][0][rightRun][rightPlace] = depthOf(turned[0], rightDepth, place.depth);
      rightTile[rightSquare.y][1][rightRun][rightPlace] = depthOf(turned[1], rightDepth + 1u, place.depth);
      rightTile[rightSquare.y][2][rightRun][rightPlace] = depthOf(turned[2], rightDepth + 2u, place.depth);
      rightTile[rightSquare.y][3][rightRun][rightPlace] = depthOf(turned[3], rightDepth + 3u, place.depth);
    } else {
      rightTile[rightSquare.y][0][rightRun][rightPlace] = depthOf(vec4f(right0), rightDepth, place.depth);
      rightTile[rightSquare.y][1][rightRun][rightPlace] = depthOf(vec4f(right1), rightDepth + 1u, place.depth);
      rightTile[rightSquare.y][2][rightRun][rightPlace] = depthOf(vec4f(right2), rightDepth + 2u, place.depth);
      rightTile[rightSquare.y][3][rightRun][rightPlace] = depthOf(vec4f(right3), rightDepth + 3u, place.depth);
    }
    workgroupBarrier();
    left += leftStep;
    right += rightStep;
    left0 = leftFour(left);
    left1 = leftFour(left + leftStride);
    left2 = leftFour(left + 2u * leftStride);
    left3 = leftFour(left + 3u * leftStride);
    right0 = rightFour(right);
    right1 = rightFour(right + rightStride);
    right2 = rightFour(right + 2u * rightStride);
    right3 = rightFour(right + 3u * rightStride);
    for (var part = 0u; part < DEPTH_PARTS; part++) {
      let rowPlace = ownRow ^ (part * 2u);
      let columnPlace = ownColumn ^ (part * 2u);
      {
        let upper = leftTile[part][0][0][rowPlace];
        let lower = leftTile[part][0][1][rowPlace];
        let run0 = rightTile[part][0][0][columnPlace];
        let run1 = rightTile[part][0][1][columnPlace];
        s00 = fma(vec4f(upper.x), run0, s00);
        s01 = fma(vec4f(upper.x), run1, s01);
        s10 = fma(vec4f(upper.y), run0, s10);
        s11 = fma(vec4f(upper.y), run1, s11);
        s20 = fma(vec4f(upper.z), run0, s20);
        s21 = fma(vec4f(upper.z), run1, s21);
        s30 = fma(vec4f(upper.w), run0, s30);
        s31 = fma(vec4f(upper.w), run1, s31);
        s40 = fma(vec4f(lower.x), run0, s40);
        s41 = fma(vec4f(lower.x), run1, s41);
        s50 = fma(vec4f(lower.y), run0, s50);
        s51 = fma(vec4f(lower.y), run1, s51);
        s60 = fma(vec4f(lower.z), run0, s60);
        s61 = fma(vec4f(lower.z), run1, s61);
        s70 = fma(vec4f(lower.w), run0, s70);
        s71 = fma(vec4f(lower.w), run1, s71);
        if (RUNS == 4u) {
          let run2 = rightTile[part][0][2u % RUNS][columnPlace];
          let run3 = rightTile[part][0][3u % RUNS][columnPlace];
          s02 = fma(vec4f(upper.x), run2, s02);
          s03 = fma(vec4f(upper.x), run3, s03);
          s12 = fma(vec4f(upper.y), run2, s12);
          s13 = fma(vec4f(upper.y), run3, s13);
          s22 = fma(vec4f(upper.z), run2, s22);
          s23 = fma(vec4f(upper.z), run3, s23);
          s32 = fma(vec4f(upper.w), run2, s32);
          s33 = fma(vec4f(upper.w), run3, s33);
          s42 = fma(vec4f(lower.x), run2, s42);
          s43 = fma(vec4f(lower.x), run3, s43);
          s52 = fma(vec4f(lower.y), run2, s52);
          s53 = fma(vec4f(lower.y), run3, s53);
          s62 = fma(vec4f(lower.z), run2, s62);
          s63 = fma(vec4f(lower.z), run3, s63);
          s72 = fma(vec4f(lower.w), run2, s72);
          s73 = fma(vec4f(lower.w), run3, s73);
        }
      }
      {
        let upper = leftTile[part][1][0][rowPlace];
        let lower = leftTile[part][1][1][rowPlace];
        let run0 = rightTile[part][1][0][columnPlace];
        let run1 = rightTile[part][1][1][columnPlace];
        s00 = fma(vec4f(upper.x), run0, s00);
        s01 = fma(vec4f(upper.x), run1, s01);
        s10 = fma(vec4f(upper.y), run0, s10);
        s11 = fma(vec4f(upper.y), run1, s11);
        s20 = fma(vec4f(upper.z), run0, s20);
        s21 = fma(vec4f(upper.z), run1, s21);
        s30 = fma(vec4f(upper.w), run0, s30);
        s31 = fma(vec4f(upper.w), run1, s31);
        s40 = fma(vec4f(lower.x), run0, s40);
        s41 = fma(vec4f(lower.x), run1, s41);
        s50 = fma(vec4f(lower.y), run0, s50);
        s51 = fma(vec4f(lower.y), run1, s51);
        s60 = fma(vec4f(lower.z), run0, s60);
        s61 = fma(vec4f(lower.z), run1, s61);
        s70 = fma(vec4f(lower.w), run0, s70);
        s71 = fma(vec4f(lower.w), run1, s71);
        if (RUNS == 4u) {
          let run2 = rightTile[part][1][2u % RUNS][columnPlace];
          let run3 = rightTile[part][1][3u % RUNS][columnPlace];
          s02 = fma(vec4f(upper.x), run2, s02);
          s03 = fma(vec4f(upper.x), run3, s03);
          s12 = fma(vec4f(upper.y), run2, s12);
          s13 = fma(vec4f(upper.y), run3, s13);
          s22 = fma(vec4f(upper.z), run2, s22);
          s23 = fma(vec4f(upper.z), run3, s23);
          s32 = fma(vec4f(upper.w), run2, s32);
          s33 = fma(vec4f(upper.w), run3, s33);
          s42 = fma(vec4f(lower.x), run2, s42);
          s43 = fma(vec4f(lower.x), run3, s43);
          s52 = fma(vec4f(lower.y), run2, s52);
          s53 = fma(vec4f(lower.y), run3, s53);
          s62 = fma(vec4f(lower.z), run2, s62);
          s63 = fma(vec4f(lower.z), run3, s63);
          s72 = fma(vec4f(lower.w), run2, s72);
          s73 = fma(vec4f(lower.w), run3, s73);
        }
      }
      {
        let upper = leftTile[part][2][0][rowPlace];
        let lower = leftTile[part][2][1][rowPlace];
        let run0 = rightTile[part][2][0][columnPlace];
        let run1 = rightTile[part][2][1][columnPlace];
        s00 = fma(vec4f(upper.x), run0, s00);
        s01 = fma(vec4f(upper.x), run1, s01);
        s10 = fma(vec4f(upper.y), run0, s10);
        s11 = fma(vec4f(upper.y), run1, s11);
        s20 = fma(vec4f(upper.z), run0, s20);
        s21 = fma(vec4f(upper.z), run1, s21);
        s30 = fma(vec4f(upper.w), run0, s30);
        s31 = fma(vec4f(upper.w), run1, s31);
        s40 = fma(vec4f(lower.x), run0, s40);
        s41 = fma(vec4f(lower.x), run1, s41);
        s50 = fma(vec4f(lower.y), run0, s50);
        s51 = fma(vec4f(lower.y), run1, s51);
        s60 = fma(vec4f(lower.z), run0, s60);
        s61 = fma(vec4f(lower.z), run1, s61);
        s70 = fma(vec4f(lower.w), run0, s70);
        s71 = fma(vec4f(lower.w), run1, s71);
        if (RUNS == 4u) {
          let run2 = rightTile[part][2][2u % RUNS][columnPlace];
          let run3 = rightTile[part][2][3u % RUNS][columnPlace];
          s02 = fma(vec4f(upper.x), run2, s02);
          s03 = fma(vec4f(upper.x), run3, s03);
          s12 = fma(vec4f(upper.y), run2, s12);
          s13 = fma(vec4f(upper.y), run3, s13);
          s22 = fma(vec4f(upper.z), run2, s22);
          s23 = fma(vec4f(upper.z), run3, s23);
          s32 = fma(vec4f(upper.w), run2, s32);
          s33 = fma(vec4f(upper.w), run3, s33);
          s42 = fma(vec4f(lower.x), run2, s42);
          s43 = fma(vec4f(lower.x), run3, s43);
          s52 = fma(vec4f(lower.y), run2, s52);
          s53 = fma(vec4f(lower.y), run3, s53);
          s62 = fma(vec4f(lower.z), run2, s62);
          s63 = fma(vec4f(lower.z), run3, s63);
          s72 = fma(vec4f(lower.w), run2, s72);
          s73 = fma(vec4f(lower.w), run3, s73);
        }
      }
      {
        let upper = leftTile[part][3][0][rowPlace];
        let lower = leftTile[part][3][1][rowPlace];
        let run0 = rightTile[part][3][0][columnPlace];
        let run1 = rightTile[part][3][1][columnPlace];
        s00 = fma(vec4f(upper.x), run0, s00);
        s01 = fma(vec4f(upper.x), run1, s01);
        s10 = fma(vec4f(upper.y), run0, s10);
        s11 = fma(vec4f(upper.y), run1, s11);
        s20 = fma(vec4f(upper.z), run0, s20);
        s21 = fma(vec4f(upper.z), run1, s21);
        s30 = fma(vec4f(upper.w), run0, s30);
        s31 = fma(vec4f(upper.w), run1, s31);
        s40 = fma(vec4f(lower.x), run0, s40);
        s41 = fma(vec4f(lower.x), run1, s41);
        s50 = fma(vec4f(lower.y), run0, s50);
        s51 = fma(vec4f(lower.y), run1, s51);
        s60 = fma(vec4f(lower.z), run0, s60);
        s61 = fma(vec4f(lower.z), run1, s61);
        s70 = fma(vec4f(lower.w), run0, s70);
        s71 = fma(vec4f(lower.w), run1, s71);
        if (RUNS == 4u) {
          let run2 = rightTile[part][3][2u % RUNS][columnPlace];
          let run3 = rightTile[part][3][3u % RUNS][columnPlace];
          s02 = fma(vec4f(upper.x), run2, s02);
          s03 = fma(vec4f(upper.x), run3, s03);
          s12 = fma(vec4f(upper.y), run2, s12);
          s13 = fma(vec4f(upper.y), run3, s13);
          s22 = fma(vec4f(upper.z), run2, s22);
          s23 = fma(vec4f(upper.z), run3, s23);
          s32 = fma(vec4f(upper.w), run2, s32);
          s33 = fma(vec4f(upper.w), run3, s33);
          s42 = fma(vec4f(lower.x), run2, s42);
          s43 = fma(vec4f(lower.x), run3, s43);
          s52 = fma(vec4f(lower.y), run2, s52);
          s53 = fma(vec4f(lower.y), run3, s53);
          s62 = fma(vec4f(lower.z), run2, s62);
          s63 = fma(vec4f(lower.z), run3, s63);
          s72 = fma(vec4f(lower.w), run2, s72);
          s73 = fma(vec4f(lower.w), run3, s73);
        }
      }
    }
    workgroupBarrier();
  }

  let row = place.firstRow + ownRow * 4u;
  let column = place.firstColumn + ownColumn * 4u;
  leaveRuns(place, row + 0u, column, s00, s01, s02, s03);
  leaveRuns(place, row + 1u, column, s10, s11, s12, s13);
  leaveRuns(place, row + 2u, column, s20, s21, s22, s23);
  leaveRuns(place, row + 3u, column, s30, s31, s32, s33);
  leaveRuns(place, row + HALF + 0u, column, s40, s41, s42, s43);
  leaveRuns(place, row + HALF + 1u, column, s50, s51, s52, s53);
  leaveRuns(place, row + HALF + 2u, column, s60, s61, s62, s63);
  leaveRuns(place, row + HALF + 3u, column, s70, s71, s72, s73);
}

/** The runs of one row. */
fn leaveRuns(place: Place, row: u32, column: u32, run0: vec4f, run1: vec4f, run2: vec4f, run3: vec4f) {
  leaveRow(place, row, column, run0);
  leaveRow(place, row, column + TILE / RUNS, run1);
  if (RUNS == 4u) {
    leaveRow(place, row, column + 2u * (TILE / RUNS), run2);
    leaveRow(place, row, column + 3u * (TILE / RUNS), run3);
  }
}
