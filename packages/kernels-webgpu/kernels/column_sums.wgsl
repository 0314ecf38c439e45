// column_sums.wgsl: adds the sums over the rows of an f32 matrix to a vector: the second stage of the norm weights' gradients, in a fixed order.
//
// A workgroup owns 32 columns, whose rows eight rows of threads share out. Bound: latency; the matrix lies in the cache.

struct Params {
  rows: u32,
  width: u32,
}

@group(0) @binding(0) var<storage, read> partials: array<f32>;             // [rows, width]
@group(0) @binding(1) var<storage, read_write> sums: array<Element>;       // [width], added to
@group(0) @binding(8) var<uniform> params: Params;

const THREADS = 256u;
const COLUMNS = 32u;
const ROWS = THREADS / COLUMNS;
var<workgroup> parts: array<f32, THREADS>;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) id: vec3u, @builtin(local_invocation_index) thread: u32) {
  let column = id.x * COLUMNS + thread % COLUMNS;
  var part = 0.0;
  if (column < params.width) {
    for (var row = thread / COLUMNS; row < params.rows; row += ROWS) {
      part += partials[row * params.width + column];
    }
  }
  parts[thread] = part;
  workgroupBarrier();
  if (thread >= COLUMNS || column >= params.width) {
    return;
  }
  var sum = 0.0;
  for (var index = thread; index < THREADS; index += COLUMNS) {
    sum += parts[index];
  }
  sums[column] = Element(f32(sums[column]) + sum);
}
