// log_sums.wgsl: sums of exponentials with the largest exponent kept apart, of single threads and of all threads of a workgroup.
//
// The order of additions follows from the thread alone, so that equal inputs give equal sums.

/** Of a workgroup: 64, 128, or 256 of which four together are one of 64. */
override THREADS: u32;
override LANES = select(THREADS, 64u, THREADS == 256u);
const LOG2_E = 1.4426950408889634;
/** Less than any score; in a sum of exponentials it stands for nothing. */
const LEAST = -3.0e38;

/** The largest score and the sum of exp((score - largest) * scale). */
struct LogSum {
  largest: f32,
  sum: f32,
}

var<workgroup> logSums: array<LogSum, 4u * THREADS>;  // [4, THREADS]
/** Of the heads of a group. */
var<workgroup> headLogs: array<LogSum, 16>;

/** @param factor scale * LOG2_E */
fn merge(a: LogSum, b: LogSum, factor: f32) -> LogSum {
  let largest = max(a.largest, b.largest);
  return LogSum(largest, a.sum * exp2((a.largest - largest) * factor) + b.sum * exp2((b.largest - largest) * factor));
}

/** Adds one score. */
fn addScore(total: LogSum, score: f32, factor: f32) -> LogSum {
  let largest = max(total.largest, score);
  return LogSum(largest, total.sum * exp2((total.largest - largest) * factor) + exp2((score - largest) * factor));
}

/** Adds four scores; those that are LEAST add nothing where there is any other. */
fn addScores(total: LogSum, scores: vec4f, factor: f32) -> LogSum {
  let largest = max(total.largest, max(max(scores.x, scores.y), max(scores.z, scores.w)));
  let shares = exp2((scores - largest) * factor);
  return LogSum(largest, total.sum * exp2((total.largest - largest) * factor) + (shares.x + shares.y) + (shares.z + shares.w));
}

/** Merges `logSums` of all threads for four heads, into `headLogs` from `firstHead` on. Begins and ends with a barrier. */
fn mergeThreads(firstHead: u32, factor: f32, thread: u32) {
  workgroupBarrier();
  if (THREADS > LANES) {
    mergeFour(thread / LANES * THREADS + thread % LANES, LANES, factor);
    workgroupBarrier();
  }
  // A quarter of the lanes for each head: they merge four each, then four of them the rest.
  let quarter = LANES / 4u;
  let lane = thread % quarter;
  let at = thread / quarter * THREADS + lane;
  if (thread < LANES) {
    mergeFour(at, quarter, factor);
  }
  workgroupBarrier();
  if (thread < LANES && lane < 4u) {
    var total = logSums[at];
    for (var other = 4u; other < quarter; other += 4u) {
      total = merge(total, logSums[at + other], factor);
    }
    logSums[at] = total;
  }
  workgroupBarrier();
  if (thread < 4u) {
    mergeFour(thread * THREADS, 1u, factor);
    headLogs[firstHead + thread] = logSums[thread * THREADS];
  }
  workgroupBarrier();
}

/** Merges four of `logSums` into the first. */
fn mergeFour(first: u32, stride: u32, factor: f32) {
  let low = merge(logSums[first], logSums[first + stride], factor);
  logSums[first] = merge(low, merge(logSums[first + 2u * stride], logSums[first + 3u * stride], factor), factor);
}
