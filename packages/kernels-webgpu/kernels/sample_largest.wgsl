// sample_largest.wgsl: the largest logit of a part of a row, and the lowest id that has it; and nothing yet in the row's bins. A workgroup owns a part.
// Bound: bytes of the logits.

@group(0) @binding(2) var<storage, read_write> largests: array<vec2u>;  // [S, parts]: key, id
@group(0) @binding(3) var<storage, read_write> bins: array<u32>;        // [S, ROW_WORDS]

var<workgroup> largestKey: atomic<u32>;
var<workgroup> lowestId: atomic<u32>;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) thread: u32) {
  let row = workgroupIndex(group, groups);
  if (row >= params.rows) {
    return;
  }
  for (var word = group.z * THREADS + thread; word < ROW_WORDS; word += params.parts * THREADS) {
    bins[row * ROW_WORDS + word] = 0u;
  }
  let start = group.z * params.partVectors;
  let end = min(start + params.partVectors, params.vectors);
  var key = 0u;
  var lowest = ALL;
  for (var index = start + thread; index < end; index += THREADS) {
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
    atomicStore(&lowestId, ALL);
  }
  atomicMax(&largestKey, key);
  workgroupBarrier();
  let largest = atomicLoad(&largestKey);
  if (key == largest) {
    atomicMin(&lowestId, lowest);
  }
  workgroupBarrier();
  if (thread == 0u) {
    largests[row * params.parts + group.z] = vec2u(largest, atomicLoad(&lowestId));
  }
}
