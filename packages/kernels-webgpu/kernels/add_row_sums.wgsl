// add_row_sums.wgsl: adds the sum of each row to a number, a workgroup a row. Numerics: f32 in a fixed order.

struct Params {
  rows: u32,
  columns: u32,
}

@group(0) @binding(0) var<storage, read> values: array<f32>;        // [rows, columns]
@group(0) @binding(1) var<storage, read_write> totals: array<f32>;  // [rows]
@group(0) @binding(8) var<uniform> params: Params;

var<workgroup> sums: array<f32, 256>;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) id: vec3u, @builtin(local_invocation_index) thread: u32) {
  var sum = 0.0;
  for (var column = thread; column < params.columns; column += 256u) {
    sum += values[id.x * params.columns + column];
  }
  sums[thread] = sum;
  for (var half = 128u; half > 0u; half /= 2u) {
    workgroupBarrier();
    if (thread < half) {
      sums[thread] += sums[thread + half];
    }
  }
  if (thread == 0u) {
    totals[id.x] += sums[0];
  }
}
