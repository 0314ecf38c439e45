// attend_query_gradient_selected.wgsl: the part of the gradient of q that selected blocks give, added to what is there (spec 5).
//
// A workgroup has one query and HEADS of its heads, and takes ROUNDS neighbouring keys of the selected blocks for each of SLOTS at a time. LANES threads
// share a key: each has four vectors of the queries, of dOut and of the sums, OWN_PARTS of every head, in columns that constants name, so that they stay
// in registers; only dot products meet in workgroup memory, and the sums of all slots in the end. The keys of a pass are all asked for before one is
// waited for, and so is the block of the next pass. Numerics: f32, p from the given lse. Bound: bytes of the gathered keys and values.

struct Params {
  sequences: Sequences,
  rules: Rules,
}

override HEAD_DIM: u32;
/** Query heads of a KV head. */
override GROUP: u32;
/** Heads of a workgroup: 1, 2 or 4. */
override HEADS: u32;
const THREADS = 64u;
override PARTS = HEAD_DIM / 4u;
/** Vectors that a thread has of a head, and of a key. */
override OWN_PARTS = 4u / HEADS;
/** Threads that share a key. */
override LANES = PARTS / OWN_PARTS;
override SLOTS = THREADS / LANES;
/** Keys that a slot takes at a time: 2 or 4, which divide every block. */
override ROUNDS = min(2u * HEADS, 4u);
/** From one dot product's parts to the next one's: into other banks. */
override LANE_STRIDE = LANES + 1u;

@group(0) @binding(1) var<storage, read> q: array<Element4>;                // [Tq, Hq, D]
@group(0) @binding(2) var<storage, read> k: array<Element4>;                // [Tk, Hkv, D]
@group(0) @binding(3) var<storage, read> v: array<Element4>;
@group(0) @binding(4) var<storage, read> dOut: array<Element4>;             // [Tq, Hq, D]
@group(0) @binding(5) var<storage, read> work: array<u32>;                    // begins with [Tq, Hq] pairs of lse and delta
@group(0) @binding(6) var<storage, read> selected: array<i32>;              // [Hkv, Tq, topK]
@group(0) @binding(7) var<storage, read_write> dq: array<Element4>;         // [Tq, Hq, D]
@group(0) @binding(8) var<uniform> params: Params;

var<workgroup> statistics: array<vec2f, HEADS>;  // lse, delta
/** Parts of q . k and dOut . v, [SLOTS, ROUNDS, HEADS, 2, LANE_STRIDE]. */
var<workgroup> exchange: array<f32, SLOTS * ROUNDS * HEADS * 2u * LANE_STRIDE>;
var<workgroup> dScores: array<f32, SLOTS * ROUNDS * HEADS>;
var<workgroup> joined: array<vec4f, SLOTS * HEADS * PARTS>;

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

/** The lane's vectors of a key, or of a value; the other columns are 0. */
fn keyParts(at: u32) -> mat4x4<Element> {
  var parts = mat4x4<Element>();
  parts[0] = k[at];
  if (OWN_PARTS > 1u) {
    parts[1] = k[at + LANES];
  }
  if (OWN_PARTS > 2u) {
    parts[2] = k[at + 2u * LANES];
    parts[3] = k[at + 3u * LANES];
  }
  return parts;
}

fn valueParts(at: u32) -> mat4x4<Element> {
  var parts = mat4x4<Element>();
  parts[0] = v[at];
  if (OWN_PARTS > 1u) {
    parts[1] = v[at + LANES];
  }
  if (OWN_PARTS > 2u) {
    parts[2] = v[at + 2u * LANES];
    parts[3] = v[at + 3u * LANES];
  }
  return parts;
}

/** The lane's part of the dot products of each head with a key. @param own [HEADS, OWN_PARTS] */
fn products(own: mat4x4f, parts: mat4x4f) -> vec4f {
  if (HEADS == 4u) {
    return parts[0] * own;
  }
  if (HEADS == 2u) {
    return vec4f(dot(own[0], parts[0]) + dot(own[1], parts[1]), dot(own[2], parts[0]) + dot(own[3], parts[1]), 0.0, 0.0);
  }
  return vec4f(dot(own[0], parts[0]) + dot(own[1], parts[1]) + (dot(own[2], parts[2]) + dot(own[3], parts[3])), 0.0, 0.0, 0.0);
}

/** Adds a key to the sums. @param weights of each head */
fn addKey(own: mat4x4f, weights: vec4f, parts: mat4x4f) -> mat4x4f {
  if (HEADS == 4u) {
    return mat4x4f(
      fma(weights.xxxx, parts[0], own[0]), fma(weights.yyyy, parts[0], own[1]), fma(weights.zzzz, parts[0], own[2]),
      fma(weights.wwww, parts[0], own[3]));
  }
  if (HEADS == 2u) {
    return mat4x4f(
      fma(weights.xxxx, parts[0], own[0]), fma(weights.xxxx, parts[1], own[1]), fma(weights.yyyy, parts[0], own[2]),
      fma(weights.yyyy, parts[1], own[3]));
  }
  return mat4x4f(
    fma(weights.xxxx, parts[0], own[0]), fma(weights.xxxx, parts[1], own[1]), fma(weights.xxxx, parts[2], own[2]),
    fma(weights.xxxx, parts[3], own[3]));
}

/** Hands a lane's part of the products of a key over. @param key of [SLOTS, ROUNDS] */
fn leaveProducts(key: u32, lane: u32, scores: vec4f, gradients: vec4f) {
  let at = key * HEADS * 2u * LANE_STRIDE + lane;
  exchange[at] = scores.x;
  exchange[at + LANE_STRIDE] = gradients.x;
  if (HEADS > 1u) {
    exchange[at + 2u * LANE_STRIDE] = scores.y;
    exchange[at + 3u * LANE_STRIDE] = gradients.y;
  }
  if (HEADS > 2u) {
    exchange[at + 4u * LANE_STRIDE] = scores.z;
    exchange[at + 5u * LANE_STRIDE] = gradients.z;
    exchange[at + 6u * LANE_STRIDE] = scores.w;
    exchange[at + 7u * LANE_STRIDE] = gradients.w;
  }
}

/** Adds up the dot products and makes of each what it adds to the gradient of its score. */
fn joinProducts(thread: u32) {
  workgroupBarrier();
  for (var pair = thread; pair < SLOTS * ROUNDS * HEADS; pair += THREADS) {
    let at = pair * 2u * LANE_STRIDE;
    var score = 0.0;
    var gradient = 0.0;
    for (var lane = 0u; lane < LANES; lane++) {
      score += exchange[at + lane];
      gradient += exchange[at + LANE_STRIDE + lane];
    }
    let own = statistics[pair % HEADS];
    dScores[pair] = exp(score * params.rules.scale - own.x) * (gradient - own.y) * params.rules.scale;
  }
  workgroupBarrier();
}

/** What a key adds to the gradient of each head; 0 of one that is not seen. @param key of [SLOTS, ROUNDS] */
fn weightsOf(key: u32, isSeen: bool) -> vec4f {
  if (!isSeen) {
    return vec4f();
  }
  let at = key * HEADS;
  return vec4f(dScores[at], dScores[at + 1u % HEADS], dScores[at + 2u % HEADS], dScores[at + 3u % HEADS]);
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
  let blockSize = params.rules.blockSize;
  let entries = (kvHead * params.sequences.queryTokens + row) * params.rules.topK;
  let items = chosenBlocks(entries) * blockSize;
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
  // Vectors of [HEADS, OWN_PARTS]; heads that are not there are the last one again, and written by nobody.
  let at0 = head * PARTS + lane;
  let at1 = (head + min(1u / OWN_PARTS, heads - 1u)) * PARTS + lane + 1u % OWN_PARTS * LANES;
  let at2 = (head + min(2u / OWN_PARTS, heads - 1u)) * PARTS + lane + 2u % OWN_PARTS * LANES;
  let at3 = (head + min(3u / OWN_PARTS, heads - 1u)) * PARTS + lane + 3u % OWN_PARTS * LANES;
  let queries = mat4x4f(vec4f(q[at0]), vec4f(q[at1]), vec4f(q[at2]), vec4f(q[at3]));
  let dOuts = mat4x4f(vec4f(dOut[at0]), vec4f(dOut[at1]), vec4f(dOut[at2]), vec4f(dOut[at3]));
  var own = mat4x4f();
  let firstKeyRow = keyRow(query.sequence, 0u);
  let ownKey = slot * ROUNDS;
  var block = u32(selected[entries + min(ownKey, items - 1u) / blockSize]);
  for (var first = 0u; first < items; first += SLOTS * ROUNDS) {
    let item = first + ownKey;
    // In place of keys that are not seen, which may be NaN, the query's own.
    let position = select(query.position, block * blockSize + item % blockSize, item < items);
    let isChosen = vec4<bool>(item < items);
    let isSeen = isChosen & (vec4u(position) + vec4u(0u, 1u, 2u, 3u) <= vec4u(query.position));
    block = u32(selected[entries + min(item + SLOTS * ROUNDS, items - 1u) / blockSize]);
    let stride = params.rules.kvHeads * PARTS;
    let origin = (firstKeyRow * params.rules.kvHeads + kvHead) * PARTS + lane;
    let from0 = origin + min(position, query.position) * stride;
    let from1 = origin + min(position + 1u, query.position) * stride;
    let from2 = origin + min(position + 2u, query.position) * stride;
    let from3 = origin + min(position + 3u, query.position) * stride;
    let rawKey0 = keyParts(from0);
    let rawValue0 = valueParts(from0);
    let rawKey1 = keyParts(from1);
    let rawValue1 = valueParts(from1);
    var rawKey2: mat4x4<Element>;
    var rawKey3: mat4x4<Element>;
    var rawValue2: mat4x4<Element>;
    var rawValue3: mat4x4<Element>;
    if (ROUNDS == 4u) {
      rawKey2 = keyParts(from2);
      rawValue2 = valueParts(from2);
      rawKey3 = keyParts(from3);
      rawValue3 = valueParts(from3);
    }
    let key0 = mat4x4f(rawKey0);
    let key1 = mat4x4f(rawKey1);
    let key2 = mat4x4f(rawKey2);
    let key3 = mat4x4f(rawKey3);
    leaveProducts(ownKey, lane, products(queries, key0), products(dOuts, mat4x4f(rawValue0)));
    leaveProducts(ownKey + 1u, lane, products(queries, key1), products(dOuts, mat4x4f(rawValue1)));
    if (ROUNDS == 4u) {
      leaveProducts(ownKey + 2u, lane, products(queries, key2), products(dOuts, mat4x4f(rawValue2)));
      leaveProducts(ownKey + 3u, lane, products(queries, key3), products(dOuts, mat4x4f(rawValue3)));
    }
    joinProducts(thread);
    own = addKey(own, weightsOf(ownKey, isSeen.x), key0);
    own = addKey(own, weightsOf(ownKey + 1u, isSeen.y), key1);
    if (ROUNDS == 4u) {
      own = addKey(own, weightsOf(ownKey + 2u, isSeen.z), key2);
      own = addKey(own, weightsOf(ownKey + 3u, isSeen.w), key3);
    }
  }
  // [SLOTS, HEADS, PARTS]
  let first = slot * HEADS * PARTS + lane;
  joined[first] = own[0];
  joined[first + 1u / OWN_PARTS * PARTS + 1u % OWN_PARTS * LANES] = own[1];
  joined[first + 2u / OWN_PARTS * PARTS + 2u % OWN_PARTS * LANES] = own[2];
  joined[first + 3u / OWN_PARTS * PARTS + 3u % OWN_PARTS * LANES] = own[3];
  workgroupBarrier();
  for (var place = thread; place < heads * PARTS; place += THREADS) {
    let at = head * PARTS + place;
    var sum = vec4f(dq[at]);
    for (var other = 0u; other < SLOTS; other++) {
      sum += joined[other * HEADS * PARTS + place];
    }
    dq[at] = Element4(sum);
  }
}
