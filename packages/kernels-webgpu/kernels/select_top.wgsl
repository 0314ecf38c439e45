// select_top.wgsl: the best blocks of listed query rows by scores that are given, for baselines (spec 8). A workgroup owns one row of one KV head.
// Bound: reading the scores.

struct Params {
  sequences: Sequences,
  rules: Rules,
  count: u32,      // n
  maxBlocks: u32,
}

@group(0) @binding(1) var<storage, read> scores: array<f32>;           // [Hkv, n, maxBlocks]
@group(0) @binding(2) var<storage, read> rows: array<i32>;             // [n], -1 for none
@group(0) @binding(3) var<storage, read_write> selected: array<i32>;  // [Hkv, Tq, topK], rows named are overwritten
@group(0) @binding(8) var<uniform> params: Params;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) id: vec3u, @builtin(num_workgroups) count: vec3u, @builtin(local_invocation_index) thread: u32) {
  let index = workgroupIndex(id, count);
  if (index >= params.count * params.rules.kvHeads) {
    return;
  }
  let row = rows[index % params.count];
  if (row < 0 || row >= i32(params.sequences.queryTokens)) {
    return;
  }
  let topK = params.rules.topK;
  let firstSlot = (index / params.count * params.sequences.queryTokens + u32(row)) * topK;
  let query = findQuery(u32(row));
  if (query.sequence == params.sequences.count) {
    fill(firstSlot, 0u, topK, thread);
    return;
  }
  let candidates = candidateBlocks(query.position, query.denseBelow);
  if (candidates.y - candidates.x <= topK) {
    chooseAll(candidates, topK, firstSlot, thread);
    return;
  }
  let choice = Choice(candidates, topK, index * params.maxBlocks, 0u);
  chooseBest(choice, largestKey(choice, thread), firstSlot, thread);
}

fn fourKeys(choice: Choice, run: u32) -> vec4u {
  let blocks = vec4u(run * 4u, run * 4u + 1u, run * 4u + 2u, run * 4u + 3u);
  let at = choice.own + min(blocks, vec4u(params.maxBlocks - 1u));
  let keys = orderedKeys(vec4f(scores[at.x], scores[at.y], scores[at.z], scores[at.w]));
  return select(vec4u(), keys, (blocks >= choice.candidates.xxxx) & (blocks < choice.candidates.yyyy));
}
