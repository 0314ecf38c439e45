// product_tile.wgsl: a workgroup of 256 threads multiplies 128 rows by 128 columns of D dimensions, a thread 8 x 8 of them in registers: two runs of four rows
// by two runs of four columns.
//
// Slices of 16 dimensions of both operands go through workgroup memory, transposed, 8 KiB each; the next slice waits in registers meanwhile. With a second
// stage a slice takes one barrier, not two. Runs of four are moved by an exclusive or of the dimension, so that neither writing nor reading meets a bank
// twice. In front of a kernel that has q and `columnPart(rows, part)`: four dimensions of a column.
// Numerics: f32, multiply-adds along D in order, the same for every place in a tile. Bound: f32 multiply-adds.

const RUNS = 32u;  // runs of four rows or columns of a slice

/** Slices of each operand in workgroup memory: 1, or 2 where there are 32 KiB. */
override STAGES: u32;
/** Of a slice: four dimensions. */
const SLICE_PARTS = 4u;

/** [STAGES * SLICE_PARTS][4][RUNS]: the run in place n lies in [n ^ (part * 2)]. An extent for each index: what is constant needs no check of bounds. */
var<workgroup> rowSlices: array<array<array<vec4f, RUNS>, 4>, STAGES * SLICE_PARTS>;
var<workgroup> columnSlices: array<array<array<vec4f, RUNS>, 4>, STAGES * SLICE_PARTS>;

/** Rows and columns of a thread: 4 rowRun on and 64 further, places 4 columnRun on and 64 further. Neighbouring threads make a patch of 4 x 8 runs. */
struct OwnRuns {
  row: u32,
  column: u32,
}

fn ownRuns(thread: u32) -> OwnRuns {
  return OwnRuns(thread / 64u * 4u + thread % 32u / 8u, thread / 32u % 2u * 8u + thread % 8u);
}

/** Products of a row with the first and the second run of columns. */
struct RowProducts {
  left: vec4f,
  right: vec4f,
}

struct Products {
  row0: RowProducts,
  row1: RowProducts,
  row2: RowProducts,
  row3: RowProducts,
  row64: RowProducts,
  row65: RowProducts,
  row66: RowProducts,
  row67: RowProducts,
}

/** What a thread loads of each slice: the first half of the threads rows, the others columns. */
struct Loads {
  rows: vec4u,     // rows of q
  column0: vec2u,  // for columnPart
  column1: vec2u,
  column2: vec2u,
  column3: vec2u,
}

/** Run of four rows or columns that a thread loads. */
fn loadedRun(thread: u32) -> u32 {
  return thread % 128u / 4u;
}

/** @param place of the loaded run among the runs of a slice */
fn productTile(loads: Loads, place: u32, thread: u32) -> Products {
  let parts = HEAD_DIM / 4u;
  let loadsRows = thread < 128u;
  let loadedPart = thread % 4u;
  let storedAt = place ^ (loadedPart * 2u);
  let own = ownRuns(thread);
  let rowRun = own.row;
  let columnRun = own.column;
  let firstParts = loads.rows * parts;
  var sums00 = vec4f(); var sums01 = vec4f(); var sums10 = vec4f(); var sums11 = vec4f();
  var sums20 = vec4f(); var sums21 = vec4f(); var sums30 = vec4f(); var sums31 = vec4f();
  var sums40 = vec4f(); var sums41 = vec4f(); var sums50 = vec4f(); var sums51 = vec4f();
  var sums60 = vec4f(); var sums61 = vec4f(); var sums70 = vec4f(); var sums71 = vec4f();
  // As they lie in memory: a conversion would wait for them.
  var loadedRow0: Element4; var loadedRow1: Element4; var loadedRow2: Element4; var loadedRow3: Element4;
  var loadedColumn0: vec4f; var loadedColumn1: vec4f; var loadedColumn2: vec4f; var loadedColumn3: vec4f;
  for (var slice = 0u; slice <= HEAD_DIM / 16u; slice++) {
    let stage = slice % STAGES * SLICE_PARTS;
    if (slice > 0u) {
      if (STAGES == 1u) {
        workgroupBarrier();
      }
      let at = stage + loadedPart;
      if (loadsRows) {
        let turned = transpose(mat4x4f(vec4f(loadedRow0), vec4f(loadedRow1), vec4f(loadedRow2), vec4f(loadedRow3)));
        rowSlices[at][0][storedAt] = turned[0];
        rowSlices[at][1][storedAt] = turned[1];
        rowSlices[at][2][storedAt] = turned[2];
        rowSlices[at][3][storedAt] = turned[3];
      } else {
        let turned = transpose(mat4x4f(loadedColumn0, loadedColumn1, loadedColumn2, loadedColumn3));
        columnSlices[at][0][storedAt] = turned[0];
        columnSlices[at][1][storedAt] = turned[1];
        columnSlices[at][2][storedAt] = turned[2];
        columnSlices[at][3][storedAt] = turned[3];
      }
      workgroupBarrier();
    }
    if (slice < HEAD_DIM / 16u) {
      let part = slice * 4u + loadedPart;
      if (loadsRows) {
        loadedRow0 = q[firstParts.x + part];
        loadedRow1 = q[firstParts.y + part];
        loadedRow2 = q[firstParts.z + part];
        loadedRow3 = q[firstParts.w + part];
      } else {
        loadedColumn0 = columnPart(loads.column0, part);
        loadedColumn1 = columnPart(loads.column1, part);
        loadedColumn2 = columnPart(loads.column2, part);
        loadedColumn3 = columnPart(loads.column3, part);
      }
    }
    if (slice == 0u) {
      continue;
    }
    for (var part = 0u; part < SLICE_PARTS; part++) {
      let rowsAt = rowRun ^ (part * 2u);
      let columnsAt = columnRun ^ (part * 2u);
      // One dimension four times: with a loop in its place, drivers count and check bounds for each.
      {
        let low = rowSlices[stage + part][0][rowsAt];
        let high = rowSlices[stage + part][0][rowsAt + 16u];
        let left = columnSlices[stage + part][0][columnsAt];
        let right = columnSlices[stage + part][0][columnsAt + 16u];
        sums00 = fma(vec4f(low.x), left, sums00);
        sums01 = fma(vec4f(low.x), right, sums01);
        sums10 = fma(vec4f(low.y), left, sums10);
        sums11 = fma(vec4f(low.y), right, sums11);
        sums20 = fma(vec4f(low.z), left, sums20);
        sums21 = fma(vec4f(low.z), right, sums21);
        sums30 = fma(vec4f(low.w), left, sums30);
        sums31 = fma(vec4f(low.w), right, sums31);
        sums40 = fma(vec4f(high.x), left, sums40);
        sums41 = fma(vec4f(high.x), right, sums41);
        sums50 = fma(vec4f(high.y), left, sums50);
        sums51 = fma(vec4f(high.y), right, sums51);
        sums60 = fma(vec4f(high.z), left, sums60);
        sums61 = fma(vec4f(high.z), right, sums61);
        sums70 = fma(vec4f(high.w), left, sums70);
        sums71 = fma(vec4f(high.w), right, sums71);
      }
      {
        let low = rowSlices[stage + part][1][rowsAt];
        let high = rowSlices[stage + part][1][rowsAt + 16u];
        let left = columnSlices[stage + part][1][columnsAt];
        let right = columnSlices[stage + part][1][columnsAt + 16u];
        sums00 = fma(vec4f(low.x), left, sums00);
        sums01 = fma(vec4f(low.x), right, sums01);
        sums10 = fma(vec4f(low.y), left, sums10);
        sums11 = fma(vec4f(low.y), right, sums11);
        sums20 = fma(vec4f(low.z), left, sums20);
        sums21 = fma(vec4f(low.z), right, sums21);
        sums30 = fma(vec4f(low.w), left, sums30);
        sums31 = fma(vec4f(low.w), right, sums31);
        sums40 = fma(vec4f(high.x), left, sums40);
        sums41 = fma(vec4f(high.x), right, sums41);
        sums50 = fma(vec4f(high.y), left, sums50);
        sums51 = fma(vec4f(high.y), right, sums51);
        sums60 = fma(vec4f(high.z), left, sums60);
        sums61 = fma(vec4f(high.z), right, sums61);
        sums70 = fma(vec4f(high.w), left, sums70);
        sums71 = fma(vec4f(high.w), right, sums71);
      }
      {
        let low = rowSlices[stage + part][2][rowsAt];
        let high = rowSlices[stage + part][2][rowsAt + 16u];
        let left = columnSlices[stage + part][2][columnsAt];
        let right = columnSlices[stage + part][2][columnsAt + 16u];
        sums00 = fma(vec4f(low.x), left, sums00);
        sums01 = fma(vec4f(low.x), right, sums01);
        sums10 = fma(vec4f(low.y), left, sums10);
        sums11 = fma(vec4f(low.y), right, sums11);
        sums20 = fma(vec4f(low.z), left, sums20);
        sums21 = fma(vec4f(low.z), right, sums21);
        sums30 = fma(vec4f(low.w), left, sums30);
        sums31 = fma(vec4f(low.w), right, sums31);
        sums40 = fma(vec4f(high.x), left, sums40);
        sums41 = fma(vec4f(high.x), right, sums41);
        sums50 = fma(vec4f(high.y), left, sums50);
        sums51 = fma(vec4f(high.y), right, sums51);
        sums60 = fma(vec4f(high.z), left, sums60);
        sums61 = fma(vec4f(high.z), right, sums61);
        sums70 = fma(vec4f(high.w), left, sums70);
        sums71 = fma(vec4f(high.w), right, sums71);
      }
      {
        let low = rowSlices[stage + part][3][rowsAt];
        let high = rowSlices[stage + part][3][rowsAt + 16u];
        let left = columnSlices[stage + part][3][columnsAt];
        let right = columnSlices[stage + part][3][columnsAt + 16u];
        sums00 = fma(vec4f(low.x), left, sums00);
        sums01 = fma(vec4f(low.x), right, sums01);
        sums10 = fma(vec4f(low.y), left, sums10);
        sums11 = fma(vec4f(low.y), right, sums11);
        sums20 = fma(vec4f(low.z), left, sums20);
        sums21 = fma(vec4f(low.z), right, sums21);
        sums30 = fma(vec4f(low.w), left, sums30);
        sums31 = fma(vec4f(low.w), right, sums31);
        sums40 = fma(vec4f(high.x), left, sums40);
        sums41 = fma(vec4f(high.x), right, sums41);
        sums50 = fma(vec4f(high.y), left, sums50);
        sums51 = fma(vec4f(high.y), right, sums51);
        sums60 = fma(vec4f(high.z), left, sums60);
        sums61 = fma(vec4f(high.z), right, sums61);
        sums70 = fma(vec4f(high.w), left, sums70);
        sums71 = fma(vec4f(high.w), right, sums71);
      }
    }
  }
  return Products(
    RowProducts(sums00, sums01), RowProducts(sums10, sums11), RowProducts(sums20, sums21), RowProducts(sums30, sums31),
    RowProducts(sums40, sums41), RowProducts(sums50, sums51), RowProducts(sums60, sums61), RowProducts(sums70, sums71),
  );
}
