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

@group(0) @binding(8) var<uniform> params: Params;

var<workgroup> sums: array<vec4f, THREADS>;

/** Four depths of four columns, whose rows of `right` begin at `starts`: a column of the matrix is one column, past the end anything. */
fn loadColumns(starts: vec4u, depth: u32) -> mat4x4<Element> {
  return mat4x4<Element>(
    rightFour(starts.x + depth),
    rightFour(starts.y + depth),
    rightFour(starts.z + depth),
    rightFour(starts.w + depth),
  );
}

/** What is loaded, one depth a column, 0 past the end. @param count depths that are left */
fn depthsOf(columns: mat4x4<Element>, count: u32) -> mat4x4f {
  return transpose(mat4x4f(
    upTo(count, vec4f(columns[0])),
    upTo(count, vec4f(columns[1])),
    upTo(count, vec4f(columns[2])),
    upTo(count, vec4f(columns[3])),
  ));
}

/** Adds to `sum` what four depths of a row of `left` are worth to four columns. */
fn addProducts(sum: vec4f, row: u32, depth: u32, columns: mat4x4f) -> vec4f {
  let four = upTo(params.depth - depth, vec4f(leftFour(params.leftFirst + row * params.leftStride + depth)));
  return fma(vec4f(four.w), columns[3], fma(vec4f(four.z), columns[2], fma(vec4f(four.y), columns[1], fma(vec4f(four.x), columns[0], sum))));
}

/** Sums of a row, rows 0 to 3 and 4 to 7 lying in two matrices: picked with constant indices, so that the matrices stay in registers. */
fn rowOf(row: u32, low: mat4x4f, high: mat4x4f) -> vec4f {
  let first = select(low[0], low[1], row == 1u);
  let second = select(low[2], low[3], row == 3u);
  let third = select(high[0], high[1], row == 5u);
  let fourth = select(high[2], high[3], row == 7u);
  return select(select(first, second, row > 1u), select(third, fourth, row > 5u), row > 3u);
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

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) id: vec3u, @builtin(num_workgroups) count: vec3u, @builtin(local_invocation_index) thread: u32) {
  let column = (workgroupIndex(id, count) * (THREADS / LANES) + thread / LANES) * 4u;
  // Rows and columns past the end are worth anything, and not written.
  let starts = params.rightFirst + vec4u(column, column + 1u, column + 2u, column + 3u) * params.rightStride;
  // Rows 0 to 3 and 4 to 7.
  var low = mat4x4f();
  var high = mat4x4f();
  let first = thread % LANES * 4u;
  // One step ahead: what is on its way from memory decides the speed.
  var next = loadColumns(starts, first);
  for (var depth = first; depth < params.depth; depth += LANES * 4u) {
    let columns = depthsOf(next, params.depth - depth);
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
  for (var row = 0u; row < ROWS; row++) {
    let total = addLanes(thread, rowOf(row, low, high));
    if (thread % LANES == 0u && row < params.rows) {
      let place = params.resultFirst + row * params.resultStride + column;
      storeFour(place, params.columns - min(column, params.columns), total, params.accumulate == 1u);
    }
  }
}
