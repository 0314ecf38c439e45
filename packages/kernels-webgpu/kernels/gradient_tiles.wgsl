// gradient_tiles.wgsl: the two products that gradients of attention are made of, as tiles of OWNED rows (which a workgroup sums up for) and WALKED
// rows (which pass by).
//
// scoreTile: dot products of all pairs, in chunks of dimensions that are staged row by row; a thread has 4 neighbouring owned rows and every
// WALKED / 4-th walked row. Rows are padded by 4 floats, so that threads read and write different banks. addTile: sums over the walked rows of a
// weight times the row; a thread has 4 dimensions of ROWS owned rows. What is staged next is on its way while a thread multiplies.
// Bound: f32 multiply-adds, 8 or 11 for each load of a vector from workgroup memory.
//
// A kernel defines loadOwned and loadWalked: four dimensions of a row, of the first tensor (k or q) or the second (v or dOut).

override HEAD_DIM: u32;
override OWNED: u32;
override WALKED: u32;
/** Vectors of a row in a chunk of scoreTile. */
override CHUNK_PARTS: u32;
/** Walked rows that addTile stages at a time. */
override STAGED_ROWS: u32;

override PARTS = HEAD_DIM / 4u;
override THREADS = OWNED * WALKED / 16u;
/** Owned rows a thread of addTile sums up: 4 or 8. */
override ROWS = 4u * HEAD_DIM / WALKED;
override LANES = WALKED / 4u;
/** Vectors that a thread stages at a time, at most MOST_LOADS. */
override CHUNK_LOADS = (OWNED + WALKED) * CHUNK_PARTS / THREADS;
override ROW_LOADS = STAGED_ROWS * PARTS / THREADS;
override CHUNK_STRIDE = CHUNK_PARTS + 1u;
override WEIGHT_STRIDE = OWNED / 4u + 1u;
/** Where addTile stages rows, behind the weights. */
override ROWS_AT = WALKED * WEIGHT_STRIDE;
const MOST_LOADS = 10u;
/** No row of a tensor. */
const NO_ROW = 0xffffffffu;

/** Rows of the tensors: OWNED, then WALKED. */
var<workgroup> tileRows: array<u32, OWNED + WALKED>;
/** Chunks of scoreTile, [OWNED + WALKED][CHUNK_STRIDE]; in their place the weights for addTile, [WALKED][WEIGHT_STRIDE], and rows. */
var<workgroup> staged: array<vec4f, max((OWNED + WALKED) * CHUNK_STRIDE, ROWS_AT + STAGED_ROWS * PARTS)>;

fn chunkVector(second: bool, isOwned: bool, row: u32, part: u32) -> vec4f {
  if (row == NO_ROW) {
    return vec4f();
  }
  if (isOwned) {
    return loadOwned(second, row, part);
  }
  return loadWalked(second, row, part);
}

/** Adds the dot products of this thread's pairs: sums[j] has the walked row thread % LANES + j * LANES and owned rows from thread / LANES * 4 on. */
fn scoreTile(second: bool, thread: u32, sums: ptr<function, array<vec4f, 4>>) {
  let ownPart = thread % CHUNK_PARTS;
  var rows = array<u32, MOST_LOADS>();
  var ahead = array<vec4f, MOST_LOADS>();
  for (var i = 0u; i < CHUNK_LOADS; i++) {
    let index = (thread + i * THREADS) / CHUNK_PARTS;
    rows[i] = tileRows[index];
    ahead[i] = chunkVector(second, index < OWNED, rows[i], ownPart);
  }
  let firstOwned = thread / LANES * 4u * CHUNK_STRIDE;
  let firstWalked = (OWNED + thread % LANES) * CHUNK_STRIDE;
  for (var chunk = 0u; chunk < PARTS; chunk += CHUNK_PARTS) {
    workgroupBarrier();
    for (var i = 0u; i < CHUNK_LOADS; i++) {
      staged[(thread + i * THREADS) / CHUNK_PARTS * CHUNK_STRIDE + ownPart] = ahead[i];
    }
    workgroupBarrier();
    if (chunk + CHUNK_PARTS < PARTS) {
      for (var i = 0u; i < CHUNK_LOADS; i++) {
        ahead[i] = chunkVector(second, (thread + i * THREADS) / CHUNK_PARTS < OWNED, rows[i], chunk + CHUNK_PARTS + ownPart);
      }
    }
    for (var part = 0u; part < CHUNK_PARTS; part++) {
      let at = firstOwned + part;
      let owned = transpose(mat4x4f(staged[at], staged[at + CHUNK_STRIDE], staged[at + 2u * CHUNK_STRIDE], staged[at + 3u * CHUNK_STRIDE]));
      for (var j = 0u; j < 4u; j++) {
        let walked = staged[firstWalked + j * LANES * CHUNK_STRIDE + part];
        var sum = (*sums)[j];
        sum = fma(owned[0], vec4f(walked.x), sum);
        sum = fma(owned[1], vec4f(walked.y), sum);
        sum = fma(owned[2], vec4f(walked.z), sum);
        sum = fma(owned[3], vec4f(walked.w), sum);
        (*sums)[j] = sum;
      }
    }
  }
}

/** Hands this thread's weights, in the order of scoreTile, to addTile. */
fn storeWeights(thread: u32, weights: ptr<function, array<vec4f, 4>>) {
  workgroupBarrier();
  for (var j = 0u; j < 4u; j++) {
    staged[(thread % LANES + j * LANES) * WEIGHT_STRIDE + thread / LANES] = (*weights)[j];
  }
}

/** Vector `index` of the walked rows from `first` on. */
fn rowVector(second: bool, index: u32, first: u32) -> vec4f {
  return chunkVector(second, false, tileRows[OWNED + first + index / PARTS], index % PARTS);
}

/** Adds weight times walked row: sums[r] has owned row thread / PARTS * ROWS + r and the four dimensions thread % PARTS. */
fn addTile(second: bool, thread: u32, sums: ptr<function, array<vec4f, 8>>) {
  var ahead = array<vec4f, MOST_LOADS>();
  for (var i = 0u; i < ROW_LOADS; i++) {
    ahead[i] = rowVector(second, thread + i * THREADS, 0u);
  }
  for (var first = 0u; first < WALKED; first += STAGED_ROWS) {
    workgroupBarrier();
    for (var i = 0u; i < ROW_LOADS; i++) {
      staged[ROWS_AT + thread + i * THREADS] = ahead[i];
    }
    workgroupBarrier();
    if (first + STAGED_ROWS < WALKED) {
      for (var i = 0u; i < ROW_LOADS; i++) {
        ahead[i] = rowVector(second, thread + i * THREADS, first + STAGED_ROWS);
      }
    }
    let firstWeight = first * WEIGHT_STRIDE + thread / PARTS * (ROWS / 4u);
    let firstValue = ROWS_AT + thread % PARTS;
    for (var row = 0u; row < STAGED_ROWS; row++) {
      let value = staged[firstValue + row * PARTS];
      for (var quad = 0u; quad < ROWS / 4u; quad++) {
        let weights = staged[firstWeight + row * WEIGHT_STRIDE + quad];
        let at = quad * 4u;
        (*sums)[at] = fma(vec4f(weights.x), value, (*sums)[at]);
        (*sums)[at + 1u] = fma(vec4f(weights.y), value, (*sums)[at + 1u]);
        (*sums)[at + 2u] = fma(vec4f(weights.z), value, (*sums)[at + 2u]);
        (*sums)[at + 3u] = fma(vec4f(weights.w), value, (*sums)[at + 3u]);
      }
    }
  }
}
