// attend_few.wgsl: attention of few queries, as in decoding, whose visible keys are split over workgroups (spec 5, 6); attend_merge.wgsl joins the parts.
//
// A workgroup owns HEADS heads of one query and a share of its visible keys, KEYS at a time: LANES threads share a key and score it for all heads, then
// each thread adds up four dimensions of the values of its part of the keys, which were on their way meanwhile. Numerics: f32, online softmax; every
// thread of a workgroup has the same largest score. Bound: bytes of k and v, and latency where keys are few.

/** Heads of a KV head, and of a workgroup: at most 8. */
override GROUP: u32;
override HEADS: u32;
/** Workgroups that share the keys of a query. */
override SPLITS: u32;
/** Threads that share a key for its score. */
override LANES: u32;
override PARTS = HEAD_DIM / 4u;
override KEYS = THREADS / LANES;
/** Parts of the keys, each with threads for all dimensions, and keys of a part: 4 or 8. */
override SHARES = THREADS / PARTS;
override OWN_KEYS = PARTS / LANES;
const THREADS = 128u;
const NO_KEY = 0xffffffffu;

/** [Tq, Hq, SPLITS, PARTS + 1]: sums of values, then largest score and sum of exponentials. */
@group(0) @binding(5) var<storage, read_write> partials: array<vec4f>;

var<workgroup> queries: array<vec4f, HEADS * PARTS>;
var<workgroup> products: array<f32, HEADS * THREADS>;
var<workgroup> scores: array<vec4f, HEADS * KEYS / 4u>;
var<workgroup> keyRows: array<u32, KEYS>;
var<workgroup> shareSums: array<vec4f, THREADS>;
var<workgroup> shareTotals: array<f32, THREADS>;

/** Row of visible key `index` in k and v, NO_KEY for keys behind the query and from `end` on. */
fn visibleRow(query: Query, keys: VisibleKeys, chosenRow: u32, index: u32, end: u32) -> u32 {
  if (index >= end) {
    return NO_KEY;
  }
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

/** Scores of the keys in keyRows for all heads. */
fn scoreKeys(kvHead: u32, thread: u32) {
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
      var sum = 0.0;
      for (var lane = 0u; lane < LANES; lane++) {
        sum += products[key * LANES + lane];
      }
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
  let firstOwn = thread / PARTS * OWN_KEYS;
  var largest = array<f32, 8>();
  var totals = array<f32, 8>();
  var sums = array<vec4f, 8>();
  for (var h = 0u; h < HEADS; h++) {
    largest[h] = LOWEST;
  }

  var nextRow = visibleRow(query, keys, chosenRow, begin + thread, end);
  for (var first = begin; first < end; first += KEYS) {
    workgroupBarrier();
    if (thread < KEYS) {
      keyRows[thread] = nextRow;
    }
    workgroupBarrier();
    if (thread < KEYS) {
      nextRow = visibleRow(query, keys, chosenRow, first + KEYS + thread, end);
    }
    // 0 for keys that are not seen: they may be NaN.
    var values = array<vec4f, 8>();
    for (var i = 0u; i < OWN_KEYS; i++) {
      let row = keyRows[firstOwn + i];
      if (row != NO_KEY) {
        values[i] = vec4f(v[(row * params.rules.kvHeads + kvHead) * PARTS + part]);
      }
    }
    scoreKeys(kvHead, thread);
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
      for (var four = 0u; four < OWN_KEYS / 4u; four++) {
        let own = scores[h * (KEYS / 4u) + firstOwn / 4u + four];
        let probabilities = select(vec4f(), exp(own - vec4f(both)), own > vec4f(LOWEST));
        totals[h] += dot(probabilities, vec4f(1.0));
        for (var i = 0u; i < 4u; i++) {
          sums[h] = fma(vec4f(probabilities[i]), values[four * 4u + i], sums[h]);
        }
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
