// qk_norm_rope_backward.wgsl: gradients of qk_norm_rope.wgsl.
//
// Rows as head_rows.wgsl says; a workgroup takes every gridRows-th group of them. A thread sums the weight's gradient of its columns in registers, the workgroup
// adds up its threads', and column_sums.wgsl the workgroups': a fixed order. Bound: bytes, three times T H D elements. Numerics: f32, one rounding on store.

struct Params {
  rows: u32,        // T H
  heads: u32,
  vectors: u32,     // of half a row
  gridRows: u32,    // rows that are taken at once
  inverseWidth: f32,
  epsilon: f32,
}

@group(0) @binding(0) var<storage, read> dy: array<ElementVector>;         // [T, H, D]
@group(0) @binding(1) var<storage, read> x: array<ElementVector>;          // [T, H, D]
@group(0) @binding(2) var<storage, read> weight: array<WeightVector>;      // [D]
@group(0) @binding(3) var<storage, read> positions: array<i32>;            // [T]
@group(0) @binding(4) var<storage, read> cosines: array<Vector>;           // [P, D / 2]
@group(0) @binding(5) var<storage, read> sines: array<Vector>;             // [P, D / 2]
@group(0) @binding(6) var<storage, read_write> dx: array<ElementVector>;   // [T, H, D]
@group(0) @binding(7) var<storage, read_write> partials: array<Vector>;    // [workgroups, D]
@group(0) @binding(8) var<uniform> params: Params;

var<workgroup> gradientParts: array<Vector, THREADS>;

/** Sum over the rows of a workgroup, right in the threads of its first row. */
fn rowSum(value: Vector, thread: u32) -> Vector {
  workgroupBarrier();
  gradientParts[thread] = value;
  workgroupBarrier();
  var sum = Vector();
  for (var part = thread % LANES; part < THREADS; part += LANES) {
    sum += gradientParts[part];
  }
  return sum;
}

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) id: vec3u, @builtin(local_invocation_index) thread: u32) {
  let lane = thread % LANES;
  var gradients = Pair();
  for (var start = id.x * (THREADS / LANES); start < params.rows; start += params.gridRows) {
    let row = start + thread / LANES;
    let isOwner = row < params.rows && lane < params.vectors;
    let at = row * 2u * params.vectors + lane;
    var own = Pair();
    // Of what the norm gives, before and behind its weight.
    var normed = Pair();
    var weighted = Pair();
    if (isOwner) {
      own = Pair(Vector(x[at]), Vector(x[at + params.vectors]));
      let angle = u32(positions[row / params.heads]) * params.vectors + lane;
      let first = Vector(dy[at]);
      let second = Vector(dy[at + params.vectors]);
      weighted.first = first * cosines[angle] + second * sines[angle];
      weighted.second = second * cosines[angle] - first * sines[angle];
      normed.first = weighted.first * Vector(weight[lane]);
      normed.second = weighted.second * Vector(weight[lane + params.vectors]);
    }
    let squares = totalOf(own.first * own.first) + totalOf(own.second * own.second);
    let products = totalOf(own.first * normed.first) + totalOf(own.second * normed.second);
    let sums = laneSum2(vec2f(squares, products), thread) * params.inverseWidth;
    let scale = inverseSqrt(sums.x + params.epsilon);
    let back = sums.y * scale * scale;
    if (isOwner) {
      gradients.first = fma(weighted.first, own.first * scale, gradients.first);
      gradients.second = fma(weighted.second, own.second * scale, gradients.second);
      dx[at] = ElementVector((normed.first - own.first * back) * scale);
      dx[at + params.vectors] = ElementVector((normed.second - own.second * back) * scale);
    }
  }
  let first = rowSum(gradients.first, thread);
  let second = rowSum(gradients.second, thread);
  if (thread < params.vectors) {
    partials[id.x * 2u * params.vectors + thread] = first;
    partials[(id.x * 2u + 1u) * params.vectors + thread] = second;
  }
}
