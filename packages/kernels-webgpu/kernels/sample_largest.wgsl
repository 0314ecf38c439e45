// sample_largest.wgsl: the largest logit of a part of a row, and the lowest id that has it. A workgroup owns a part. Bound: bytes of the logits.

struct Params {
  vectors: u32,      // of a row
  rows: u32,
  parts: u32,        // of a row
  partVectors: u32,
}

@group(0) @binding(0) var<storage, read> logits: array<ElementVector>;        // [S, V]
@group(0) @binding(1) var<storage, read_write> largests: array<vec2u>;        // [S, parts]: key, id
@group(1) @binding(0) var<uniform> params: Params;

var<workgroup> largestKey: atomic<u32>;
var<workgroup> lowestId: atomic<u32>;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) id: vec3u, @builtin(num_workgroups) count: vec3u, @builtin(local_invocation_index) thread: u32) {
  let row = workgroupIndex(id, count);
  if (row >= params.rows) {
    return;
  }
  let start = id.z * params.partVectors;
  let end = min(start + params.partVectors, params.vectors);
  var key = 0u;
  var lowest = 0xffffffffu;
  for (var index = start + thread; index < end; index += 256u) {
    let values = Vector(logits[row * params.vectors + index]);
    for (var component = 0u; component < VECTOR; component++) {
      let own = keyOf(logitOf(componentOf(values, component)));
      if (own > key) {
        key = own;
        lowest = index * VECTOR + component;
      }
    }
  }
  if (thread == 0u) {
    atomicStore(&lowestId, 0xffffffffu);
  }
  atomicMax(&largestKey, key);
  workgroupBarrier();
  let largest = atomicLoad(&largestKey);
  if (key == largest) {
    atomicMin(&lowestId, lowest);
  }
  workgroupBarrier();
  if (thread == 0u) {
    largests[row * params.parts + id.z] = vec2u(largest, atomicLoad(&lowestId));
  }
}
