// product_squares.wgsl: a workgroup multiplies TILE rows by TILE columns, each operand as it lies in memory or transposed.
//
// A thread owns 8 rows, four in each half of the tile, by RUNS runs of four columns, in variables by name. Steps of 16 in depth lie in workgroup memory
// with the depth as the slow index; what lies the other way round in memory is transposed in registers, 4 x 4 at a time. Every thread brings one
// square of each operand, and the next ones are on their way while a step is multiplied, loaded without a condition, so that nothing waits for them.
// Bound: f32 multiply-adds.
//
// It goes on in product_squares_depth.wgsl, four times for the four depths of a part (a loop in their place would be counted, and its index checked, for each),
// and ends in product_squares_end.wgsl.
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
