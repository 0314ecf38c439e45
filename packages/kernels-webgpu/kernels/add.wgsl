// add.wgsl: a + b, a vector a thread. Bound: bytes. Numerics: f32, one rounding on store.

struct Params {
  vectors: u32,
}

@group(0) @binding(0) var<storage, read> a: array<ElementVector>;
@group(0) @binding(1) var<storage, read> b: array<ElementVector>;
@group(0) @binding(2) var<storage, read_write> sum: array<ElementVector>;
@group(0) @binding(8) var<uniform> params: Params;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) id: vec3u, @builtin(num_workgroups) count: vec3u, @builtin(local_invocation_index) thread: u32) {
  let index = workgroupIndex(id, count) * 256u + thread;
  if (index < params.vectors) {
    sum[index] = ElementVector(Vector(a[index]) + Vector(b[index]));
  }
}
