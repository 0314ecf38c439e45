// sample_scan.wgsl: where the running totals over a row's bins, pieces or tokens come to what is asked for.

/** What a running total, count and mass, must come to: `value`, and a share of the mass of all items. */
struct Goal {
  kind: u32,
  value: f32,
  share: f32,
}
const COUNTED = 0u;
const REACHED = 1u;
const EXCEEDED = 2u;

/** The first item that meets a goal, or the last one where rounding leaves the goal just behind it. */
struct Crossing {
  index: u32,
  before: vec2f,
  including: vec2f,
  /** Of all items. */
  all: vec2f,
}

/** Items of a thread. */
const ITEMS = BINS / THREADS;
const SCANNED = 16u;
var<workgroup> threadTotals: array<vec2f, THREADS>;
var<workgroup> groupTotals: array<vec2f, SCANNED>;
var<workgroup> firstMet: atomic<u32>;
var<workgroup> lastFilled: atomic<u32>;
var<workgroup> crossing: Crossing;

fn isMet(goal: Goal, totals: vec2f, all: vec2f) -> bool {
  let value = goal.value + goal.share * all.y;
  if (goal.kind == COUNTED) {
    return totals.x >= value;
  }
  return select(totals.y >= value, totals.y > value, goal.kind == EXCEEDED);
}

/** Of what `findCrossing` shares; a barrier must follow. */
fn resetCrossing(thread: u32) {
  if (thread == 0u) {
    atomicStore(&firstMet, ALL);
    atomicStore(&lastFilled, 0u);
  }
}

/** Where the items of all threads, added up in order from `start` on, meet the goal. An index counts ITEMS a thread. */
fn findCrossing(goal: Goal, start: vec2f, items: array<vec2f, ITEMS>, thread: u32) -> Crossing {
  var own = vec2f();
  for (var item = 0u; item < ITEMS; item++) {
    own += items[item];
  }
  threadTotals[thread] = own;
  workgroupBarrier();
  if (thread < SCANNED) {
    var sum = vec2f();
    for (var index = 0u; index < SCANNED; index++) {
      sum += threadTotals[thread * SCANNED + index];
    }
    groupTotals[thread] = sum;
  }
  workgroupBarrier();
  var running = start;
  var all = vec2f();
  for (var group = 0u; group < SCANNED; group++) {
    running += select(vec2f(), groupTotals[group], group < thread / SCANNED);
    all += groupTotals[group];
  }
  for (var index = thread / SCANNED * SCANNED; index < thread; index++) {
    running += threadTotals[index];
  }
  var met = Crossing(ALL, vec2f(), vec2f(), all);
  var filled = Crossing(0u, vec2f(), vec2f(), all);
  for (var item = 0u; item < ITEMS; item++) {
    let including = running + items[item];
    if (items[item].x > 0.0) {
      filled = Crossing(thread * ITEMS + item, running, including, all);
      if (met.index == ALL && isMet(goal, including, all)) {
        met = filled;
      }
    }
    running = including;
  }
  atomicMin(&firstMet, met.index);
  atomicMax(&lastFilled, filled.index);
  workgroupBarrier();
  let first = atomicLoad(&firstMet);
  if (first == ALL) {
    met = filled;
  }
  if (met.index == min(first, atomicLoad(&lastFilled)) && thread == met.index / ITEMS) {
    crossing = met;
  }
  return workgroupUniformLoad(&crossing);
}
