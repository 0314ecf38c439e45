// choose_blocks.wgsl: the topK best blocks of each query from its scores in scratch memory (spec 4, 8).
//
// A workgroup owns one query of one KV head. It finds the log-sum-exp of each head, then a key for each column: the sum over the heads as a whole number
// of the same order, in place of the first head's score; best_blocks.wgsl does the rest. Where queries are many, it has 64 threads that read four runs
// of four columns at once: many small workgroups wait for memory and barriers in place of one another. Where they are few, 256 threads read one each
// and add up in the same order.
// Numerics: f32, exp after the largest is subtracted; the order of all sums follows from the column alone. Bound: reading the scores twice.

@group(0) @binding(1) var<storage, read_write> scores: array<vec4u>;   // bits of f32 [items, tileQueries * QUERY_ROWS, capacity]
@group(0) @binding(2) var<storage, read_write> selected: array<i32>;  // [Hkv, Tq, topK], all of it written

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) id: vec3u, @builtin(local_invocation_index) thread: u32) {
  let item = itemAt(id.y);
  let row = item.tile.first + id.x;
  if (row >= item.tile.end) {
    return;
  }
  let topK = params.rules.topK;
  let firstSlot = (item.kvHead * params.sequences.queryTokens + row) * topK;
  if (item.tile.sequence == params.sequences.count) {
    fill(firstSlot, 0u, topK, thread);
    return;
  }
  let query = queryOf(item.tile.sequence, row);
  let candidates = candidateBlocks(query.position, query.denseBelow);
  if (!hasChoice(query)) {
    chooseAll(candidates, topK, firstSlot, thread);
    return;
  }
  fill(firstSlot, query.topK, topK, thread);
  if (query.topK == 0u) {
    return;
  }
  let own = (id.y * params.tileQueries + id.x) * QUERY_ROWS * (params.capacity / 4u);
  let columns = scoredColumns(query.position);
  if (SCORE != LOGIT) {
    sumHeads(own, columns, thread);
  }
  let choice = Choice(candidates, query.topK, own, columns);
  var largest = makeKeys(choice, thread);
  if (!isPlain()) {
    storageBarrier();
    largest = largestKey(choice, thread);
  }
  chooseBest(choice, largest, firstSlot, thread);
}

/** Whether each block is one column. */
fn isPlain() -> bool {
  return SCORE != OVERLAP && params.rules.representatives == 1u;
}

/** Finds `headLogs`. @param own quarter of the query's first score */
fn sumHeads(own: u32, columns: u32, thread: u32) {
  let factor = params.rules.scale * LOG2_E;
  for (var firstHead = 0u; firstHead < QUERY_ROWS; firstHead += 4u) {
    for (var head = 0u; head < min(4u, QUERY_ROWS - firstHead); head++) {
      logSums[head * THREADS + thread] = sumColumns(own + (firstHead + head) * (params.capacity / 4u), columns, factor, thread);
    }
    mergeThreads(firstHead, factor, thread);
  }
}

/** Runs of four columns that all threads read together. */
const ROUND = 256u;

/** Scores of a run of four columns, LEAST from `columns` on. @param first of the row */
fn fourScores(first: u32, run: u32, columns: u32) -> vec4f {
  let four = bitcast<vec4f>(scores[first + min(run, (columns - 1u) / 4u)]);
  if (run * 4u + 4u <= columns) {
    return four;
  }
  return select(vec4f(LEAST), four, columnsOf(run) < vec4u(columns));
}

fn columnsOf(run: u32) -> vec4u {
  return vec4u(run * 4u, run * 4u + 1u, run * 4u + 2u, run * 4u + 3u);
}

/** Adds four scores with one rounding of the exponent, which is enough to compare blocks. */
fn addFour(total: LogSum, scores: vec4f, factor: f32) -> LogSum {
  let largest = max(total.largest, max(max(scores.x, scores.y), max(scores.z, scores.w)));
  // Where all are LEAST, the fused product would leave the rounding error of a huge one: it has to end far below 0.
  let shift = -max(largest, 0.1 * LEAST) * factor;
  let shares = exp2(fma(scores, vec4f(factor), vec4f(shift)));
  return LogSum(largest, fma(total.sum, exp2(fma(total.largest, factor, shift)), (shares.x + shares.y) + (shares.z + shares.w)));
}

/** A thread's share of one head's columns. */
fn sumColumns(first: u32, columns: u32, factor: f32, thread: u32) -> LogSum {
  var total0 = LogSum(LEAST, 0.0);
  var total1 = total0;
  var total2 = total0;
  var total3 = total0;
  for (var run = thread; run * 4u < columns; run += ROUND) {
    let four0 = fourScores(first, run, columns);
    if (THREADS == ROUND) {
      total0 = addFour(total0, four0, factor);
      continue;
    }
    let four1 = fourScores(first, run + THREADS, columns);
    let four2 = fourScores(first, run + 2u * THREADS, columns);
    let four3 = fourScores(first, run + 3u * THREADS, columns);
    total0 = addFour(total0, four0, factor);
    total1 = addFour(total1, four1, factor);
    total2 = addFour(total2, four2, factor);
    total3 = addFour(total3, four3, factor);
  }
  if (THREADS == ROUND) {
    return total0;
  }
  return merge(merge(total0, total1, factor), merge(total2, total3, factor), factor);
}

/** A head's scores, or their shares in the softmax. @param shift logarithm of the sum, base 2 and less than 0 */
fn weighed(four: vec4f, factor: f32, shift: f32) -> vec4f {
  if (SCORE == LOGIT) {
    return four;
  }
  return exp2(fma(four, vec4f(factor), vec4f(shift)));
}

/** Writes the keys of this thread's columns in place of the first head's scores, 0 for columns that count nothing. @returns the largest */
fn makeKeys(choice: Choice, thread: u32) -> u32 {
  let factor = params.rules.scale * LOG2_E;
  var counting = vec2u(0u, choice.columns);
  if (isPlain()) {
    counting = choice.candidates;
  }
  var largest = vec4u();
  for (var run = thread; run * 4u < choice.columns; run += ROUND) {
    var sums0 = vec4f();
    var sums1 = vec4f();
    var sums2 = vec4f();
    var sums3 = vec4f();
    for (var head = 0u; head < QUERY_ROWS; head++) {
      let first = choice.own + head * (params.capacity / 4u);
      let shift = -fma(headLogs[head].largest, factor, log2(headLogs[head].sum));
      let four0 = fourScores(first, run, choice.columns);
      if (THREADS == ROUND) {
        sums0 += weighed(four0, factor, shift);
        continue;
      }
      let four1 = fourScores(first, run + THREADS, choice.columns);
      let four2 = fourScores(first, run + 2u * THREADS, choice.columns);
      let four3 = fourScores(first, run + 3u * THREADS, choice.columns);
      sums0 += weighed(four0, factor, shift);
      sums1 += weighed(four1, factor, shift);
      sums2 += weighed(four2, factor, shift);
      sums3 += weighed(four3, factor, shift);
    }
    largest = max(largest, writeKeys(choice, run, counting, sums0));
    if (THREADS == ROUND) {
      continue;
    }
    largest = max(largest, writeKeys(choice, run + THREADS, counting, sums1));
    largest = max(largest, writeKeys(choice, run + 2u * THREADS, counting, sums2));
    largest = max(largest, writeKeys(choice, run + 3u * THREADS, counting, sums3));
  }
  return largestOf(largest);
}

fn writeKeys(choice: Choice, run: u32, counting: vec2u, sums: vec4f) -> vec4u {
  if (run * 4u >= choice.columns) {
    return vec4u();
  }
  var keys: vec4u;
  if (SCORE == LOGIT) {
    keys = orderedKeys(sums);
  } else {
    keys = positiveKeys(sums);
  }
  if (run * 4u < counting.x || run * 4u + 4u > counting.y) {
    let own = columnsOf(run);
    keys = select(vec4u(), keys, (own >= counting.xxxx) & (own < counting.yyyy));
  }
  scores[choice.own + run] = keys;
  return keys;
}

fn fourKeys(choice: Choice, run: u32) -> vec4u {
  if (isPlain()) {
    return scores[choice.own + run];
  }
  return vec4u(blockKey(choice, run * 4u), blockKey(choice, run * 4u + 1u), blockKey(choice, run * 4u + 2u), blockKey(choice, run * 4u + 3u));
}

/** Largest key of the columns of a block; that of 0 where overlapping kernels do not reach it. */
fn blockKey(choice: Choice, block: u32) -> u32 {
  if (block < choice.candidates.x || block >= choice.candidates.y) {
    return 0u;
  }
  let representatives = params.rules.representatives;
  var first = block * representatives;
  var end = first + representatives;
  var key = 0u;
  if (SCORE == OVERLAP) {
    first = max(first, 1u) - 1u;
    end = min(end, choice.columns);
    key = LEAST_KEY;
  }
  for (var column = first; column < end; column++) {
    key = max(key, scores[choice.own + column / 4u][column % 4u]);
  }
  return key;
}
