// sum_heads.wgsl: queries added up over the heads of a group, because logit scores do (spec 4) and products are linear. A thread owns four dimensions.
// Bound: bytes of q.

@group(0) @binding(1) var<storage, read> q: array<Element4>;         // [Tq, Hq, D]
@group(0) @binding(2) var<storage, read_write> sums: array<vec4f>;  // [items, tileQueries, D]

@compute @workgroup_size(128)
fn main(@builtin(workgroup_id) id: vec3u, @builtin(num_workgroups) count: vec3u, @builtin(local_invocation_index) thread: u32) {
  let parts = HEAD_DIM / 4u;
  let at = workgroupIndex(id, count) * 128u + thread;
  let index = at / parts / params.tileQueries;
  if (index >= params.items) {
    return;
  }
  let item = itemAt(index);
  let query = item.tile.first + at / parts % params.tileQueries;
  if (query >= item.tile.end) {
    return;
  }
  let group = params.rules.heads / params.rules.kvHeads;
  var sum = vec4f();
  for (var head = 0u; head < group; head++) {
    sum += vec4f(q[(query * params.rules.heads + item.kvHead * group + head) * parts + at % parts]);
  }
  sums[at] = sum;
}
