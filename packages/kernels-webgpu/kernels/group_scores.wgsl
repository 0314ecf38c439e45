// group_scores.wgsl: a workgroup of 128 threads scores one query, with all heads of a KV head's group, against rows of keys or representatives, one row a
// thread at a time and four heads at once. Behind it comes a kernel that has `rowPart(row, part)`: four dimensions of a row.

override HEAD_DIM: u32;
/** Query heads of a KV head. */
override GROUP: u32;

/** [GROUP in fours, D / 4], zero past the group */
var<workgroup> queries: array<vec4f, 512>;

/** Loads the group's query heads. Ends with a barrier. @param firstHead row of q [.., D] */
fn loadGroup(firstHead: u32, thread: u32) {
  let parts = HEAD_DIM / 4u;
  for (var index = thread; index < (GROUP + 3u) / 4u * 4u * parts; index += THREADS) {
    queries[index] = vec4f();
    if (index < GROUP * parts) {
      queries[index] = vec4f(q[firstHead * parts + index]);
    }
  }
  workgroupBarrier();
}

/** Products of a row with four heads from `firstHead` on, not scaled. */
fn groupScores(firstHead: u32, row: u32) -> vec4f {
  let parts = HEAD_DIM / 4u;
  let first = firstHead * parts;
  var sums = mat4x4f();
  for (var part = 0u; part < parts; part++) {
    let own = rowPart(row, part);
    sums[0] = fma(own, queries[first + part], sums[0]);
    sums[1] = fma(own, queries[first + parts + part], sums[1]);
    sums[2] = fma(own, queries[first + 2u * parts + part], sums[2]);
    sums[3] = fma(own, queries[first + 3u * parts + part], sums[3]);
  }
  let turned = transpose(sums);
  return (turned[0] + turned[1]) + (turned[2] + turned[3]);
}

/** Whether each of four heads from `firstHead` on is in the group. */
fn inGroup(firstHead: u32) -> vec4<bool> {
  return vec4u(firstHead, firstHead + 1u, firstHead + 2u, firstHead + 3u) < vec4u(GROUP);
}

/** Largest scores of four heads from `firstHead` on. */
fn headLargest(firstHead: u32) -> vec4f {
  return vec4f(headLogs[firstHead].largest, headLogs[firstHead + 1u].largest, headLogs[firstHead + 2u].largest, headLogs[firstHead + 3u].largest);
}

fn headSums(firstHead: u32) -> vec4f {
  return vec4f(headLogs[firstHead].sum, headLogs[firstHead + 1u].sum, headLogs[firstHead + 2u].sum, headLogs[firstHead + 3u].sum);
}

/** Finds `headLogs` of all heads over `count` rows from `firstRow` on, each `stride` after the one before. Ends with a barrier. */
fn sumGroup(firstRow: u32, stride: u32, count: u32, thread: u32) {
  let factor = params.rules.scale * LOG2_E;
  for (var firstHead = 0u; firstHead < GROUP; firstHead += 4u) {
    var largest = vec4f(LEAST);
    var sums = vec4f();
    for (var index = thread; index < count; index += THREADS) {
      let scores = groupScores(firstHead, firstRow + index * stride);
      let next = max(largest, scores);
      sums = sums * exp2((largest - next) * factor) + exp2((scores - next) * factor);
      largest = next;
    }
    for (var head = 0u; head < 4u; head++) {
      logSums[head * THREADS + thread] = LogSum(largest[head], sums[head]);
    }
    mergeThreads(firstHead, factor, thread);
  }
}

/** Logarithms of the shares that four heads' scores have in the softmax. Taking off the largest first keeps the digits of a share near 1. */
fn logShares(firstHead: u32, scores: vec4f) -> vec4f {
  return (scores - headLargest(firstHead)) * params.rules.scale - log(headSums(firstHead));
}

var<workgroup> threadSums: array<f32, 128>;

/** The sum of all threads' values, for all of them. Begins and ends with a barrier. */
fn sumOfThreads(value: f32, thread: u32) -> f32 {
  workgroupBarrier();
  threadSums[thread] = value;
  for (var half = THREADS / 2u; half > 0u; half /= 2u) {
    workgroupBarrier();
    if (thread < half) {
      threadSums[thread] += threadSums[thread + half];
    }
  }
  return workgroupUniformLoad(&threadSums[0]);
}
