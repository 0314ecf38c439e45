// attend_query_gradient_selected.wgsl: the part of the gradient of q that selected blocks give, added to what is there (spec 5).
//
// A workgroup has one query and HEADS of its heads, and takes ROUNDS times SLOTS keys of the selected blocks at a time. LANES threads share a key: each has
// some of the dimensions of the queries, of the key and of what it adds up, all in registers; only dot products meet in workgroup memory, and the
// sums of all slots in the end. Numerics: f32, p from the given lse. Bound: bytes of the gathered keys and values.

struct Params {
  sequences: Sequences,
  rules: Rules,
}

override HEAD_DIM: u32;
/** Query heads of a KV head. */
override GROUP: u32;
/** Heads of a workgroup: 1, 2 or 4. */
override HEADS: u32;
override THREADS: u32;
/** Threads that share a key. */
override LANES: u32;
/** Keys that a slot takes at a time: 2 or 4. */
override ROUNDS: u32;
override PARTS = HEAD_DIM / 4u;
override OWN_PARTS = PARTS / LANES;
override SLOTS = THREADS / LANES;
override PAIR_STRIDE = SLOTS * (LANES + 1u);
const NO_ROW = 0xffffffffu;

@group(0) @binding(1) var<storage, read> q: array<Element4>;                // [Tq, Hq, D]
@group(0) @binding(2) var<storage, read> k: array<Element4>;                // [Tk, Hkv, D]
@group(0) @binding(3) var<storage, read> v: array<Element4>;
@group(0) @binding(4) var<storage, read> dOut: array<Element4>;             // [Tq, Hq, D]
@group(0) @binding(5) var<storage, read> work: array<u32>;                    // begins with [Tq, Hq] pairs of lse and delta
@group(0) @binding(6) var<storage, read> selected: array<i32>;              // [Hkv, Tq, topK]
@group(0) @binding(7) var<storage, read_write> dq: array<Element4>;         // [Tq, Hq, D]
@group(0) @binding(8) var<uniform> params: Params;

var<workgroup> statistics: array<vec2f, HEADS>;                   // lse, delta
var<workgroup> pairs: array<vec2f, ROUNDS * HEADS * PAIR_STRIDE>;  // parts of q . k and dOut . v, [ROUNDS, HEADS, SLOTS, LANES + 1]
var<workgroup> dScores: array<f32, ROUNDS * HEADS * SLOTS>;
var<workgroup> sums: array<vec4f, SLOTS * PARTS>;

/** Blocks in a row of `selected`: they stand before the first -1. */
fn chosenBlocks(first: u32) -> u32 {
  var low = 0u;
  var high = params.rules.topK;
  while (low < high) {
    let middle = (low + high) / 2u;
    if (selected[first + middle] >= 0) {
      low = middle + 1u;
    } else {
      high = middle;
    }
  }
  return low;
}

/** Adds up the dot products and makes of each what it adds to the gradient of its score. */
fn joinPairs(thread: u32) {
  workgroupBarrier();
  for (var index = thread; index < ROUNDS * HEADS * SLOTS; index += THREADS) {
    let first = index * (LANES + 1u);
    var pair = pairs[first];
    for (var lane = 1u; lane < LANES; lane++) {
      pair += pairs[first + lane];
    }
    let own = statistics[index / SLOTS % HEADS];
    dScores[index] = exp(pair.x * params.rules.scale - own.x) * (pair.y - own.y) * params.rules.scale;
  }
  workgroupBarrier();
}

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) id: vec3u, @builtin(num_workgroups) count: vec3u, @builtin(local_invocation_index) thread: u32) {
  let index = workgroupIndex(id, count);
  let headTiles = (GROUP + HEADS - 1u) / HEADS;
  let row = index / headTiles % params.sequences.queryTokens;
  let kvHead = index / headTiles / params.sequences.queryTokens;
  if (kvHead >= params.rules.kvHeads) {
    return;
  }
  let query = findQuery(row);
  if (query.sequence == params.sequences.count || query.position < query.denseBelow) {
    return;
  }
  let entries = (kvHead * params.sequences.queryTokens + row) * params.rules.topK;
  let items = chosenBlocks(entries) * params.rules.blockSize;
  if (items == 0u) {
    return;
  }
  let firstHead = index % headTiles * HEADS;
  let heads = min(HEADS, GROUP - firstHead);
  let head = row * params.rules.heads + kvHead * GROUP + firstHead;
  if (thread < HEADS) {
    let at = 2u * (head + min(thread, heads - 1u));
    statistics[thread] = bitcast<vec2f>(vec2u(work[at], work[at + 1u]));
  }
  let lane = thread % LANES;
  let slot = thread / LANES;
  // [HEADS, OWN_PARTS]
  var queries = array<vec4f, 8>();
  var dOuts = array<vec4f, 8>();
  var own = array<vec4f, 8>();
  for (var h = 0u; h < HEADS; h++) {
    for (var i = 0u; i < OWN_PARTS; i++) {
      let at = (head + min(h, heads - 1u)) * PARTS + lane + i * LANES;
      queries[h * OWN_PARTS + i] = vec4f(q[at]);
      dOuts[h * OWN_PARTS + i] = vec4f(dOut[at]);
    }
  }
  let firstKeyRow = keyRow(query.sequence, 0u);
  for (var first = 0u; first < items; first += ROUNDS * SLOTS) {
    // [ROUNDS, OWN_PARTS]; 0 for keys that are not seen: they may be NaN.
    var keys = array<vec4f, 16>();
    var seen = array<bool, 4>();
    for (var round = 0u; round < ROUNDS; round++) {
      let item = first + round * SLOTS + slot;
      let block = u32(selected[entries + min(item, items - 1u) / params.rules.blockSize]);
      let position = block * params.rules.blockSize + item % params.rules.blockSize;
      seen[round] = item < items && position <= query.position;
      var products = array<vec2f, 4>();
      if (seen[round]) {
        let at = ((firstKeyRow + position) * params.rules.kvHeads + kvHead) * PARTS + lane;
        for (var i = 0u; i < OWN_PARTS; i++) {
          let key = vec4f(k[at + i * LANES]);
          let value = vec4f(v[at + i * LANES]);
          keys[round * OWN_PARTS + i] = key;
          for (var h = 0u; h < HEADS; h++) {
            products[h] += vec2f(dot(queries[h * OWN_PARTS + i], key), dot(dOuts[h * OWN_PARTS + i], value));
          }
        }
      }
      for (var h = 0u; h < HEADS; h++) {
        pairs[(round * HEADS + h) * PAIR_STRIDE + slot * (LANES + 1u) + lane] = products[h];
      }
    }
    joinPairs(thread);
    for (var round = 0u; round < ROUNDS; round++) {
      for (var h = 0u; h < HEADS; h++) {
        let dScore = select(0.0, dScores[(round * HEADS + h) * SLOTS + slot], seen[round]);
        for (var i = 0u; i < OWN_PARTS; i++) {
          own[h * OWN_PARTS + i] = fma(vec4f(dScore), keys[round * OWN_PARTS + i], own[h * OWN_PARTS + i]);
        }
      }
    }
  }
  for (var h = 0u; h < HEADS; h++) {
    workgroupBarrier();
    for (var i = 0u; i < OWN_PARTS; i++) {
      sums[slot * PARTS + lane + i * LANES] = own[h * OWN_PARTS + i];
    }
    workgroupBarrier();
    if (thread < PARTS && h < heads) {
      let at = (head + h) * PARTS + thread;
      var sum = vec4f(dq[at]);
      for (var other = 0u; other < SLOTS; other++) {
        sum += sums[other * PARTS + thread];
      }
      dq[at] = Element4(sum);
    }
  }
}
