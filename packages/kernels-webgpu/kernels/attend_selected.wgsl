// attend_selected.wgsl: adds the selected blocks (spec 5) to an attention over the forced ones that lies in out and lse.
//
// 32 threads, a team, own one query and H heads of one KV head; neighbouring queries share a workgroup, and so some of the cache lines of blocks that
// they both chose. A team walks its keys in passes of 256 / H: eight threads score a key together and hand their parts of the sums over through
// workgroup memory; then the threads take the dimensions, four each, and add up the values.
// Numerics: f32, softmax in powers of two from the given state. Bound: reads of k and v, m D elements of each a query and block, from caches.

const TEAM = 32u;
const TEAMS = 2u;
const SIDES = 8u;          // threads that score a key together
const PAIRS = 256u;        // of a key and a head: a pass
const ROUND = 64u;         // pairs whose parts are in memory at once
const SIDE_STRIDE = 68u;   // so that neither writing nor reading meets a bank twice
const EXCHANGE = SIDES * SIDE_STRIDE;
const LOG2_E = 1.4426950408889634;

/** Heads of a KV head. */
override GROUP: u32;
/** Heads of a team: 1, 2 or 4. */
override HEADS: u32;
override BLOCK_SIZE: u32;
override KEYS: u32 = PAIRS / HEADS;
override BLOCKS: u32 = KEYS / BLOCK_SIZE;
/** Values of a thread that are read at once: 4, or as many as it has in a block. */
override VALUES: u32 = min(4u, BLOCK_SIZE * HEAD_DIM / 128u);

/** Of a team: parts of a round's scores, [side, pair] with pairs as [key / 4, head, key % 4]; at other times a number a thread. */
var<workgroup> exchange: array<f32, TEAMS * EXCHANGE>;
/** Scores, then probabilities: [key, head]. */
var<workgroup> probabilities: array<f32, TEAMS * PAIRS>;
/** Of each block of a pass: the row of its first key, and how many of its keys are visible; of the query's own key and 0 for no block. */
var<workgroup> places: array<vec2u, TEAMS * BLOCKS>;

/** What a team works on. */
struct Work {
  sequence: u32,
  position: u32,
  kvHead: u32,
  chosenRow: u32,
  blocks: u32,
}

@compute @workgroup_size(TEAM * TEAMS)
fn main(@builtin(workgroup_id) id: vec3u, @builtin(num_workgroups) count: vec3u, @builtin(local_invocation_index) thread: u32) {
  let parts = HEAD_DIM / 4u;
  let chunks = (GROUP + HEADS - 1u) / HEADS;
  let lane = thread % TEAM;
  let team = thread / TEAM;
  // A team for each chunk of heads, then row, then KV head; teams past the last one go along without keys.
  let item = workgroupIndex(id, count) * TEAMS + team;
  let row = item / chunks % params.sequences.queryTokens;
  let kvHead = item / chunks / params.sequences.queryTokens;
  let firstHead = item % chunks * HEADS;
  let lastHead = min(HEADS, GROUP - firstHead) - 1u;
  let outRow = row * params.rules.heads + kvHead * GROUP + firstHead;
  let work = workOf(row, kvHead);

  // Eight threads of a key have every eighth run of dimensions; a column a run.
  let side = lane % SIDES;
  let query0 = queryRuns(outRow, side);
  let query1 = queryRuns(outRow + min(1u, lastHead), side);
  let query2 = queryRuns(outRow + min(2u, lastHead), side);
  let query3 = queryRuns(outRow + min(3u, lastHead), side);
  let ownHead = lane % HEADS;
  let part = lane % parts;
  let firstKey = lane / parts;
  let keyStep = TEAM / parts;
  var largest = lse[outRow + min(ownHead, lastHead)] * LOG2_E;
  var total = select(0.0, 1.0, lane < HEADS);
  var sums = mat4x4f();  // a column a head
  if (firstKey == 0u) {
    sums = mat4x4f(
      vec4f(out[outRow * parts + part]), vec4f(out[(outRow + min(1u, lastHead)) * parts + part]),
      vec4f(out[(outRow + min(2u, lastHead)) * parts + part]), vec4f(out[(outRow + min(3u, lastHead)) * parts + part]));
  }
  let ownExchange = team * EXCHANGE;
  let ownProbabilities = team * PAIRS;

  let passes = (params.rules.topK + BLOCKS - 1u) / BLOCKS;
  for (var step = 0u; step < passes; step++) {
    if (lane < BLOCKS) {
      places[team * BLOCKS + lane] = placeOf(work, step * BLOCKS + lane);
    }
    workgroupBarrier();
    for (var round = 0u; round < PAIRS / ROUND; round++) {
      // Two keys at once: both are on their way before one is waited for.
      for (var four = 0u; four < ROUND / HEADS / 4u; four += 2u) {
        let index = (round * (ROUND / HEADS / 4u) + four) * 4u + lane / SIDES;
        let key = keyRuns(keyAt(work, team, index), side);
        let nextKey = keyRuns(keyAt(work, team, index + 4u), side);
        let at = ownExchange + side * SIDE_STRIDE + four * HEADS * 4u + lane / SIDES;
        let nextAt = at + HEADS * 4u;
        exchange[at] = product(query0, key);
        exchange[nextAt] = product(query0, nextKey);
        if (HEADS > 1u) {
          exchange[at + 4u] = product(query1, key);
          exchange[nextAt + 4u] = product(query1, nextKey);
        }
        if (HEADS > 2u) {
          exchange[at + 8u] = product(query2, key);
          exchange[at + 12u] = product(query3, key);
          exchange[nextAt + 8u] = product(query2, nextKey);
          exchange[nextAt + 12u] = product(query3, nextKey);
        }
      }
      workgroupBarrier();
      for (var index = lane; index < ROUND; index += TEAM) {
        var score = 0.0;
        for (var other = 0u; other < SIDES; other++) {
          score += exchange[ownExchange + other * SIDE_STRIDE + index];
        }
        let head = index / 4u % HEADS;
        let key = (round * (ROUND / HEADS / 4u) + index / 4u / HEADS) * 4u + index % 4u;
        let isVisible = key % BLOCK_SIZE < places[team * BLOCKS + key / BLOCK_SIZE].y;
        probabilities[ownProbabilities + key * HEADS + head] = select(LOWEST, score, isVisible);
      }
      workgroupBarrier();
    }

    var both = largest;
    for (var index = lane; index < PAIRS; index += TEAM) {
      both = max(both, probabilities[ownProbabilities + index]);
    }
    exchange[ownExchange + lane] = both;
    workgroupBarrier();
    for (var other = 0u; other < TEAM; other += HEADS) {
      both = max(both, exchange[ownExchange + other + ownHead]);
    }
    let keep = exp2(largest - both);
    largest = both;
    total *= keep;
    for (var index = lane; index < PAIRS; index += TEAM) {
      let probability = exp2(probabilities[ownProbabilities + index] - both);
      probabilities[ownProbabilities + index] = probability;
      total += probability;
    }
    if (lane < HEADS) {
      exchange[ownExchange + TEAM + lane] = keep;
    }
    workgroupBarrier();
    sums[0] *= exchange[ownExchange + TEAM];
    if (HEADS > 1u) {
      sums[1] *= exchange[ownExchange + TEAM + 1u];
    }
    if (HEADS > 2u) {
      sums[2] *= exchange[ownExchange + TEAM + 2u];
      sums[3] *= exchange[ownExchange + TEAM + 3u];
    }
    for (var block = 0u; block < BLOCKS; block++) {
      let place = places[team * BLOCKS + block];
      if (place.y == 0u) {
        continue;
      }
      let stride = params.rules.kvHeads * parts;
      let begin = (place.x * params.rules.kvHeads + work.kvHead) * parts + part;
      let last = place.y - 1u;
      for (var key = firstKey; key < BLOCK_SIZE; key += VALUES * keyStep) {
        let value0 = vec4f(v[begin + min(key, last) * stride]);
        let value1 = vec4f(v[begin + min(key + keyStep, last) * stride]);
        let value2 = vec4f(v[begin + min(key + 2u * keyStep, last) * stride]);
        let value3 = vec4f(v[begin + min(key + 3u * keyStep, last) * stride]);
        let at = ownProbabilities + (block * BLOCK_SIZE + key) * HEADS;
        sums[0] = addValues(sums[0], at, value0, value1, value2, value3);
        if (HEADS > 1u) {
          sums[1] = addValues(sums[1], at + 1u, value0, value1, value2, value3);
        }
        if (HEADS > 2u) {
          sums[2] = addValues(sums[2], at + 2u, value0, value1, value2, value3);
          sums[3] = addValues(sums[3], at + 3u, value0, value1, value2, value3);
        }
      }
    }
    workgroupBarrier();
  }

  exchange[ownExchange + lane] = total;
  workgroupBarrier();
  var totals = vec4f();
  for (var other = 0u; other < TEAM; other += HEADS) {
    totals += vec4f(
      exchange[ownExchange + other], exchange[ownExchange + other + 1u], exchange[ownExchange + other + 2u], exchange[ownExchange + other + 3u]);
  }
  for (var head = 0u; head < HEADS; head++) {
    workgroupBarrier();
    for (var dimension = 0u; dimension < 4u; dimension++) {
      exchange[ownExchange + dimension * TEAM + lane] = sums[head][dimension];
    }
    workgroupBarrier();
    // Rows without selected keys stay as they are, to the last bit.
    if (work.blocks > 0u && head <= lastHead && lane < parts) {
      var sum = vec4f();
      for (var other = lane; other < TEAM; other += parts) {
        let at = ownExchange + other;
        sum += vec4f(exchange[at], exchange[at + TEAM], exchange[at + 2u * TEAM], exchange[at + 3u * TEAM]);
      }
      out[(outRow + head) * parts + lane] = Element4(sum / totals[head]);
      if (lane == head) {
        lse[outRow + head] = logSum(largest / LOG2_E, totals[head]);
      }
    }
  }
}

/** A row of q, scaled: the runs of dimensions side, side + 8 and so on. */
fn queryRuns(row: u32, side: u32) -> mat4x4f {
  let at = row * (HEAD_DIM / 4u) + side;
  var runs = mat4x4f();
  runs[0] = vec4f(q[at]);
  if (HEAD_DIM > 32u) {
    runs[1] = vec4f(q[at + 8u]);
  }
  if (HEAD_DIM > 64u) {
    runs[2] = vec4f(q[at + 16u]);
    runs[3] = vec4f(q[at + 24u]);
  }
  return runs * (params.rules.scale * LOG2_E);
}

/** The same of a row of k. */
fn keyRuns(row: u32, side: u32) -> mat4x4f {
  let at = row * (HEAD_DIM / 4u) + side;
  var runs = mat4x4f();
  runs[0] = vec4f(k[at]);
  if (HEAD_DIM > 32u) {
    runs[1] = vec4f(k[at + 8u]);
  }
  if (HEAD_DIM > 64u) {
    runs[2] = vec4f(k[at + 16u]);
    runs[3] = vec4f(k[at + 24u]);
  }
  return runs;
}

fn product(query: mat4x4f, key: mat4x4f) -> f32 {
  var sums = query[0] * key[0];
  if (HEAD_DIM > 32u) {
    sums = fma(query[1], key[1], sums);
  }
  if (HEAD_DIM > 64u) {
    sums = fma(query[3], key[3], fma(query[2], key[2], sums));
  }
  return (sums.x + sums.y) + (sums.z + sums.w);
}

/** Adds four values, or two, times their probabilities; `at` is that of the first. */
fn addValues(sum: vec4f, at: u32, value0: vec4f, value1: vec4f, value2: vec4f, value3: vec4f) -> vec4f {
  let step = TEAM * 4u / HEAD_DIM * HEADS;
  var all = fma(vec4f(probabilities[at + step]), value1, fma(vec4f(probabilities[at]), value0, sum));
  if (VALUES == 4u) {
    all = fma(vec4f(probabilities[at + 3u * step]), value3, fma(vec4f(probabilities[at + 2u * step]), value2, all));
  }
  return all;
}

/** Row of k of a key of a pass; of a visible one where it is not. */
fn keyAt(work: Work, team: u32, index: u32) -> u32 {
  let place = places[team * BLOCKS + index / BLOCK_SIZE];
  return (place.x + min(index % BLOCK_SIZE, max(place.y, 1u) - 1u)) * params.rules.kvHeads + work.kvHead;
}

fn workOf(row: u32, kvHead: u32) -> Work {
  let query = findQuery(row);
  if (kvHead >= params.rules.kvHeads || query.sequence == params.sequences.count || query.position < query.denseBelow) {
    return Work(0u, 0u, 0u, 0u, 0u);
  }
  let chosenRow = selectedRow(row, kvHead);
  return Work(query.sequence, query.position, kvHead, chosenRow, chosenBlocks(chosenRow));
}

/** See `places`. */
fn placeOf(work: Work, index: u32) -> vec2u {
  if (index >= work.blocks) {
    return vec2u(keyRow(work.sequence, work.position), 0u);
  }
  let start = u32(selected[work.chosenRow + index]) * BLOCK_SIZE;
  let end = min(start + BLOCK_SIZE, work.position + 1u);
  return vec2u(keyRow(work.sequence, min(start, work.position)), end - min(start, end));
}
