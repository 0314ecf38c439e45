// attend_few.wgsl: attention of few queries, as in decoding, whose visible keys are split over workgroups (spec 5, 6); attend_merge.wgsl joins the parts.
//
// A workgroup owns HEADS heads of one query and a share of its visible keys, 32 at a time: four threads share a key and score it for all heads, then
// each thread adds up four dimensions of the values of its part of the keys. Numerics: f32, online softmax; every thread of a workgroup has the same
// largest score. Bound: bytes of k and v, and latency where keys are few.

/** Heads of a KV head, and of a workgroup: at most 8. */
override GROUP: u32;
override HEADS: u32;
/** Workgroups that share the keys of a query. */
override SPLITS: u32;
override PARTS = HEAD_DIM / 4u;
/** Threads that share a part of the keys, and such parts. */
override SHARES = THREADS / PARTS;
const THREADS = 128u;
const LANES = 4u;
const KEYS = 32u;
const NO_KEY = 0xffffffffu;

/** [Tq, Hq, SPLITS, PARTS + 1]: sums of values, then largest score and sum of exponentials. */
@group(0) @binding(5) var<storage, read_write> partials: array<vec4f>;

var<workgroup> queries: array<vec4f, HEADS * PARTS>;
var<workgroup> products: array<f32, HEADS * THREADS>;
var<workgroup> scores: array<vec4f, HEADS * KEYS / 4u>;
var<workgroup> keyRows: array<u32, KEYS>;
var<workgroup> shareSums: array<vec4f, THREADS>;
var<workgroup> shareTotals: array<f32, THREADS>;

/** Row of visible key `index` in k and v, NO_KEY for keys behind the query. */
fn visibleRow(query: Query, keys: VisibleKeys, chosenRow: u32, index: u32) -> u32 {
  var position = index;
  if (index >= keys.selectedEnd) {
    position = keys.localStart + index - keys.selectedEnd;
  } else if (index >= keys.initEnd) {
    let within = index - keys.initEnd;
    position = u32(selected[chosenRow + within / params.rules.blockSize]) * params.rules.blockSize + within % params.rules.blockSize;
  }
  if (position > query.position) {
    return NO_KEY;
  }
  return keyRow(query.sequence, position);
}

/** Scores of the keys in keyRows, over all heads. */
fn scoreKeys(kvHead: u32, heads: u32, thread: u32) {
  var own = array<vec4f, 8>();
  let row = keyRows[thread / LANES];
  if (row != NO_KEY) {
    let at = (row * params.rules.kvHeads + kvHead) * PARTS;
    for (var i = 0u; i < PARTS / LANES; i++) {
      let part = i * LANES + thread % LANES;
      let key = vec4f(k[at + part]);
      for (var h = 0u; h < HEADS; h++) {
        own[h] = fma(queries[h * PARTS + part], key, own[h]);
      }
    }
  }
  for (var h = 0u; h < HEADS; h++) {
    products[h * THREADS + thread] = dot(own[h], vec4f(1.0));
  }
  workgroupBarrier();
  for (var index = thread; index < HEADS * KEYS / 4u; index += THREADS) {
    var sums = vec4f();
    for (var i = 0u; i < 4u; i++) {
      let key = index * 4u + i;
      let first = key * LANES;
      let sum = (products[first] + products[first + 1u]) + (products[first + 2u] + products[first + 3u]);
      sums[i] = select(sum * params.rules.scale, LOWEST, keyRows[key % KEYS] == NO_KEY);
    }
    scores[index] = sums;
  }
  workgroupBarrier();
}

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) id: vec3u, @builtin(num_workgroups) count: vec3u, @builtin(local_invocation_index) thread: u32) {
  let index = workgroupIndex(id, count);
  let split = index % SPLITS;
  let headTiles = (GROUP + HEADS - 1u) / HEADS;
  let tile = index / SPLITS % headTiles;
  let item = index / SPLITS / headTiles;
  if (item >= params.sequences.queryTokens * params.rules.kvHeads) {
    return;
  }
  let kvHead = item % params.rules.kvHeads;
  let row = item / params.rules.kvHeads;
  let heads = min(HEADS, GROUP - tile * HEADS);
  let firstHead = row * params.rules.heads + kvHead * GROUP + tile * HEADS;
  let query = findQuery(row);
  let chosenRow = selectedRow(row, kvHead);
  var keys = VisibleKeys();
  if (query.sequence < params.sequences.count) {
    keys = visibleKeys(query, chosenBlocks(chosenRow));
  }
  let share = ((keys.count + SPLITS - 1u) / SPLITS + KEYS - 1u) / KEYS * KEYS;
  let begin = min(keys.count, split * share);
  let end = min(keys.count, begin + share);

  for (var at = thread; at < HEADS * PARTS; at += THREADS) {
    queries[at] = vec4f(q[min(firstHead * PARTS + at, (firstHead + heads) * PARTS - 1u)]);
  }
  let part = thread % PARTS;
  let ownKeys = KEYS / SHARES;
  let firstOwn = thread / PARTS * ownKeys;
  var largest = array<f32, 8>();
  var totals = array<f32, 8>();
  var sums = array<vec4f, 8>();
  for (var h = 0u; h < HEADS; h++) {
    largest[h] = LOWEST;
  }

  for (var first = begin; first < end; first += KEYS) {
    workgroupBarrier();
    if (thread < KEYS) {
      keyRows[thread] = NO_KEY;
      if (first + thread < end) {
        keyRows[thread] = visibleRow(query, keys, chosenRow, first + thread);
      }
    }
    workgroupBarrier();
    scoreKeys(kvHead, heads, thread);
    for (var h = 0u; h < HEADS; h++) {
      var most = vec4f(largest[h]);
      for (var four = 0u; four < KEYS / 4u; four++) {
        most = max(most, scores[h * (KEYS / 4u) + four]);
      }
      let both = max(max(most.x, most.y), max(most.z, most.w));
      let keep = exp(largest[h] - both);
      largest[h] = both;
      totals[h] *= keep;
      sums[h] *= keep;
    }
    for (var own = 0u; own < ownKeys; own++) {
      let key = firstOwn + own;
      // Values of unseen keys may be NaN: a probability of 0 would not keep them out.
      if (keyRows[key] == NO_KEY) {
        continue;
      }
      let value = vec4f(v[(keyRows[key] * params.rules.kvHeads + kvHead) * PARTS + part]);
      for (var h = 0u; h < HEADS; h++) {
        let probability = exp(scores[h * (KEYS / 4u) + key / 4u][key % 4u] - largest[h]);
        totals[h] += probability;
        sums[h] = fma(vec4f(probability), value, sums[h]);
      }
    }
  }

  for (var h = 0u; h < heads; h++) {
    workgroupBarrier();
    shareSums[thread] = sums[h];
    shareTotals[thread] = totals[h];
    workgroupBarrier();
    if (thread < PARTS) {
      var sum = vec4f();
      var total = 0.0;
      for (var other = thread; other < THREADS; other += PARTS) {
        sum += shareSums[other];
        total += shareTotals[other];
      }
      let at = ((firstHead + h) * SPLITS + split) * (PARTS + 1u);
      partials[at + thread] = sum;
      if (thread == 0u) {
        partials[at + PARTS] = vec4f(largest[h], total, 0.0, 0.0);
      }
    }
  }
}
