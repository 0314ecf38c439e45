// token_runs.wgsl: tokens in the order of their ids, those of one id in their own order, those without an id last; and how many of each id there are.
//
// A thread counts the tokens that come before its own: T^2 comparisons of integers, which a training step of T tokens never notices, and no passes that wait for
// each other. Ids go through workgroup memory, 1,024 at once.

struct Params {
  tokens: u32,
}

@group(0) @binding(0) var<storage, read> ids: array<i32>;           // [T]: 0 .. V - 1, or -1
@group(0) @binding(1) var<storage, read_write> runs: array<vec2u>;  // [T]: token, and the length of the run that begins here, or 0
@group(0) @binding(8) var<uniform> params: Params;

const TILE = 1024u;
var<workgroup> tile: array<vec4u, TILE / 4u>;

/** -1 is the largest of all. */
fn keyAt(token: u32) -> u32 {
  return select(0xffffffffu, u32(ids[min(token, params.tokens - 1u)]), token < params.tokens);
}

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) id: vec3u, @builtin(num_workgroups) count: vec3u, @builtin(local_invocation_index) thread: u32) {
  let token = workgroupIndex(id, count) * 256u + thread;
  let own = keyAt(token);
  var smaller = vec4u();
  var before = vec4u();
  var same = vec4u();
  for (var start = 0u; start < params.tokens; start += TILE) {
    workgroupBarrier();
    let first = start + thread * 4u;
    tile[thread] = vec4u(keyAt(first), keyAt(first + 1u), keyAt(first + 2u), keyAt(first + 3u));
    workgroupBarrier();
    for (var index = 0u; index < TILE / 4u; index++) {
      let others = tile[index];
      let isSame = others == vec4u(own);
      smaller += select(vec4u(), vec4u(1u), others < vec4u(own));
      same += select(vec4u(), vec4u(1u), isSame);
      let otherTokens = vec4u(start + index * 4u) + vec4u(0u, 1u, 2u, 3u);
      before += select(vec4u(), vec4u(1u), isSame & (otherTokens < vec4u(token)));
    }
  }
  if (token >= params.tokens) {
    return;
  }
  let rank = before.x + before.y + before.z + before.w;
  let place = smaller.x + smaller.y + smaller.z + smaller.w + rank;
  let isHead = rank == 0u && own != 0xffffffffu;
  runs[place] = vec2u(token, select(0u, same.x + same.y + same.z + same.w, isHead));
}
