// qk_norm_rope.wgsl: RMS norm over each head, then rotary position (spec 1).
//
// Rows as head_rows.wgsl says: each is read once. Bound: bytes. Numerics: f32, one rounding on store; angles come as a table.

struct Params {
  rows: u32,        // T H
  heads: u32,
  vectors: u32,     // of half a row
  inverseWidth: f32,
  epsilon: f32,
}

@group(0) @binding(0) var<storage, read> x: array<ElementVector>;        // [T, H, D]
@group(0) @binding(1) var<storage, read> weight: array<WeightVector>;    // [D]
@group(0) @binding(2) var<storage, read> positions: array<i32>;          // [T]
@group(0) @binding(3) var<storage, read> cosines: array<Vector>;         // [P, D / 2]
@group(0) @binding(4) var<storage, read> sines: array<Vector>;           // [P, D / 2]
@group(0) @binding(5) var<storage, read_write> y: array<ElementVector>;  // [T, H, D]
@group(0) @binding(8) var<uniform> params: Params;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) id: vec3u, @builtin(num_workgroups) count: vec3u, @builtin(local_invocation_index) thread: u32) {
  let row = workgroupIndex(id, count) * (THREADS / LANES) + thread / LANES;
  let lane = thread % LANES;
  let isOwner = row < params.rows && lane < params.vectors;
  let at = row * 2u * params.vectors + lane;
  var pair = Pair();
  if (isOwner) {
    pair = Pair(Vector(x[at]), Vector(x[at + params.vectors]));
  }
  let squares = totalOf(pair.first * pair.first) + totalOf(pair.second * pair.second);
  let scale = inverseSqrt(laneSum2(vec2f(squares, 0.0), thread).x * params.inverseWidth + params.epsilon);
  if (!isOwner) {
    return;
  }
  let angle = u32(positions[row / params.heads]) * params.vectors + lane;
  let first = pair.first * scale * Vector(weight[lane]);
  let second = pair.second * scale * Vector(weight[lane + params.vectors]);
  y[at] = ElementVector(first * cosines[angle] - second * sines[angle]);
  y[at + params.vectors] = ElementVector(second * cosines[angle] + first * sines[angle]);
}
