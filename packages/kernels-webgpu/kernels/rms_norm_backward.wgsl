// rms_norm_backward.wgsl: gradients of rms_norm.wgsl.
//
// A workgroup takes every gridRows-th row, adds up what it needs of the whole row, and writes dx of 256 * HELD vectors, its part of the columns: wider rows have
// further workgroups (grid z) for the rest. A thread sums the weight's gradient of its columns in registers; column_sums.wgsl adds these up in a fixed order.
// Bound: bytes, three times T E elements. Numerics: f32, one rounding on store.

struct Params {
  rows: u32,
  vectors: u32,     // of a row
  gridRows: u32,    // rows that are taken at once
  inverseWidth: f32,
  epsilon: f32,
}

@group(0) @binding(0) var<storage, read> dy: array<ElementVector>;         // [T, E]
@group(0) @binding(1) var<storage, read> x: array<ElementVector>;          // [T, E]
@group(0) @binding(2) var<storage, read> weight: array<WeightVector>;      // [E]
@group(0) @binding(3) var<storage, read_write> dx: array<ElementVector>;   // [T, E]
@group(0) @binding(4) var<storage, read_write> partials: array<Vector>;    // [gridRows, E]
@group(0) @binding(8) var<uniform> params: Params;

const HELD = 4u;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) id: vec3u, @builtin(local_invocation_index) thread: u32) {
  let first = id.z * 256u * HELD + thread;
  var gradients = array<Vector, HELD>();
  for (var row = id.x; row < params.rows; row += params.gridRows) {
    let start = row * params.vectors;
    var squares = Vector();
    var products = Vector();
    for (var index = thread; index < params.vectors; index += 256u) {
      let own = Vector(x[start + index]);
      squares = fma(own, own, squares);
      products = fma(own, Vector(dy[start + index]) * Vector(weight[index]), products);
    }
    let sums = workgroupSum2(vec2f(totalOf(squares), totalOf(products)), thread) * params.inverseWidth;
    let scale = inverseSqrt(sums.x + params.epsilon);
    let back = sums.y * scale * scale;
    for (var held = 0u; held < HELD; held++) {
      let index = first + held * 256u;
      if (index < params.vectors) {
        let own = Vector(x[start + index]);
        let gradient = Vector(dy[start + index]);
        gradients[held] = fma(gradient, own * scale, gradients[held]);
        dx[start + index] = ElementVector((gradient * Vector(weight[index]) - own * back) * scale);
      }
    }
  }
  for (var held = 0u; held < HELD; held++) {
    let index = first + held * 256u;
    if (index < params.vectors) {
      partials[id.x * params.vectors + index] = gradients[held];
    }
  }
}
