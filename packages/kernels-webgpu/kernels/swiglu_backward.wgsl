// swiglu_backward.wgsl: gradients of silu(gate) * up, a vector a thread. Bound: bytes. Numerics: f32, one rounding on store.

struct Params {
  vectors: u32,
}

@group(0) @binding(0) var<storage, read> dy: array<ElementVector>;
@group(0) @binding(1) var<storage, read> gate: array<ElementVector>;
@group(0) @binding(2) var<storage, read> up: array<ElementVector>;
@group(0) @binding(3) var<storage, read_write> dGate: array<ElementVector>;
@group(0) @binding(4) var<storage, read_write> dUp: array<ElementVector>;
@group(0) @binding(8) var<uniform> params: Params;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) id: vec3u, @builtin(num_workgroups) count: vec3u, @builtin(local_invocation_index) thread: u32) {
  let index = workgroupIndex(id, count) * 256u + thread;
  if (index >= params.vectors) {
    return;
  }
  let own = Vector(gate[index]);
  let share = sigmoid(own);
  let gradient = Vector(dy[index]);
  dGate[index] = ElementVector(gradient * Vector(up[index]) * share * (1.0 + own * (1.0 - share)));
  dUp[index] = ElementVector(gradient * own * share);
}
