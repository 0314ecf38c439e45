// matmul_few_rows.wgsl: result [rows, columns] = left [rows, depth] right [columns, depth]^T for up to 8 rows, as decoding has them.
//
// LANES neighbouring threads read the depth of four rows of `right` together and add up what these are worth to each row of `left`, which stays in the
// cache; their sums meet in workgroup memory. Bound: bytes of `right`, each of which is read once.

struct Params {
  rows: u32,
  columns: u32,
  depth: u32,
  accumulate: u32,   // 1: added to the result
  leftFirst: u32,    // elements before a matrix, and from one of its rows to the next
  leftStride: u32,
  rightFirst: u32,
  rightStride: u32,
  resultFirst: u32,
  resultStride: u32,
}

/** A power of two up to 256. */
override LANES: u32;
/** Rows of `left` at most: 1, 2, 4 or 8. */
override ROWS: u32;

const THREADS = 256u;

@group(1) @binding(0) var<uniform> params: Params;

var<workgroup> sums: array<vec4f, THREADS>;

/** Four depths of four columns, whose rows of `right` begin at `starts`; 0 past the end. A column of the matrix is one depth. */
fn loadColumns(starts: vec4u, depth: u32) -> mat4x4f {
  let count = params.depth - min(depth, params.depth);
  return transpose(mat4x4f(
    rightFour(starts.x + depth, count),
    rightFour(starts.y + depth, count),
    rightFour(starts.z + depth, count),
    rightFour(starts.w + depth, count),
  ));
}

/** Adds to `sum` what four depths of a row of `left` are worth to four columns. */
fn addProducts(sum: vec4f, row: u32, depth: u32, columns: mat4x4f) -> vec4f {
  let four = leftFour(params.leftFirst + min(row, params.rows - 1u) * params.leftStride + depth, params.depth - depth);
  return fma(vec4f(four.w), columns[3], fma(vec4f(four.z), columns[2], fma(vec4f(four.y), columns[1], fma(vec4f(four.x), columns[0], sum))));
}

/** Sum over the lanes of a group, in its first one. */
fn addLanes(thread: u32, sum: vec4f) -> vec4f {
  workgroupBarrier();
  sums[thread] = sum;
  for (var half = LANES / 2u; half > 0u; half /= 2u) {
    workgroupBarrier();
    if (thread % LANES < half) {
      sums[thread] += sums[thread + half];
    }
  }
  return sums[thread];
}

fn finish(thread: u32, row: u32, column: u32, sum: vec4f) {
  let total = addLanes(thread, sum);
  if (thread % LANES == 0u && row < params.rows) {
    storeFour(params.resultFirst + row * params.resultStride + column, params.columns - min(column, params.columns), total, params.accumulate == 1u);
  }
}

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) id: vec3u, @builtin(num_workgroups) count: vec3u, @builtin(local_invocation_index) thread: u32) {
  let column = (workgroupIndex(id, count) * (THREADS / LANES) + thread / LANES) * 4u;
  let starts = params.rightFirst + min(vec4u(column, column + 1u, column + 2u, column + 3u), vec4u(params.columns - 1u)) * params.rightStride;
  // Rows 0 to 3 and 4 to 7.
  var low = mat4x4f();
  var high = mat4x4f();
  let first = thread % LANES * 4u;
  // One step ahead: what is on its way from memory decides the speed.
  var next = loadColumns(starts, first);
  for (var depth = first; depth < params.depth; depth += LANES * 4u) {
    let columns = next;
    next = loadColumns(starts, depth + LANES * 4u);
    low[0] = addProducts(low[0], 0u, depth, columns);
    if (ROWS > 1u) {
      low[1] = addProducts(low[1], 1u, depth, columns);
    }
    if (ROWS > 2u) {
      low[2] = addProducts(low[2], 2u, depth, columns);
      low[3] = addProducts(low[3], 3u, depth, columns);
    }
    if (ROWS > 4u) {
      high[0] = addProducts(high[0], 4u, depth, columns);
      high[1] = addProducts(high[1], 5u, depth, columns);
      high[2] = addProducts(high[2], 6u, depth, columns);
      high[3] = addProducts(high[3], 7u, depth, columns);
    }
  }
  finish(thread, 0u, column, low[0]);
  if (ROWS > 1u) {
    finish(thread, 1u, column, low[1]);
  }
  if (ROWS > 2u) {
    finish(thread, 2u, column, low[2]);
    finish(thread, 3u, column, low[3]);
  }
  if (ROWS > 4u) {
    finish(thread, 4u, column, high[0]);
    finish(thread, 5u, column, high[1]);
    finish(thread, 6u, column, high[2]);
    finish(thread, 7u, column, high[3]);
  }
}
