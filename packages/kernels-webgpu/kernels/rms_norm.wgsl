// rms_norm.wgsl: x / sqrt(mean(x^2) + epsilon) * weight of rows.
//
// A workgroup owns a row, which it reads twice, the second time from the cache. Bound: bytes. Numerics: f32, one rounding on store.

struct Params {
  rows: u32,
  vectors: u32,     // of a row
  inverseWidth: f32,
  epsilon: f32,
}

@group(0) @binding(0) var<storage, read> x: array<ElementVector>;        // [T, E]
@group(0) @binding(1) var<storage, read> weight: array<WeightVector>;    // [E]
@group(0) @binding(2) var<storage, read_write> y: array<ElementVector>;  // [T, E]
@group(0) @binding(8) var<uniform> params: Params;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) id: vec3u, @builtin(num_workgroups) count: vec3u, @builtin(local_invocation_index) thread: u32) {
  let row = workgroupIndex(id, count);
  if (row >= params.rows) {
    return;
  }
  let start = row * params.vectors;
  var squares = Vector();
  for (var index = thread; index < params.vectors; index += 256u) {
    let own = Vector(x[start + index]);
    squares = fma(own, own, squares);
  }
  let scale = inverseSqrt(workgroupSum(totalOf(squares), thread) * params.inverseWidth + params.epsilon);
  for (var index = thread; index < params.vectors; index += 256u) {
    y[start + index] = ElementVector(Vector(x[start + index]) * scale * Vector(weight[index]));
  }
}
