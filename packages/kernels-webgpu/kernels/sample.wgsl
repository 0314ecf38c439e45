// sample.wgsl: draws a token a row, in the order of falling logits, equal ones by rising id, without sorting the row.
//
// A workgroup owns a row. Logits are counted in bins of 1/32 by their distance from the largest (over the temperature): the running mass over bins tells in
// which bin a cut or the drawn token lies. A bin of up to LISTED logits is listed, and the running mass over the list tells which one it is; a larger one
// is first divided by the bits of its logits, and where these are all the same, by those of the ids. Each of these steps is one pass over the row.
// Everything is one loop over steps, with one place each for the pass and for the running totals: compilers take minutes for copies of these.
// Bound: latency of the passes. Numerics: masses in f32 from integer counts, so that no sum depends on a race. What is less likely than exp(-32) times the
// likeliest is never drawn: all of it together is less than a step of the uniform number.

struct Params {
  vectors: u32,      // of a row
  rows: u32,
  parts: u32,        // of a row in `largests`
  excessScale: f32,  // of an excess as an integer, so that V of them fit into 32 bits
}

@group(0) @binding(0) var<storage, read> logits: array<ElementVector>;  // [S, V]
@group(0) @binding(1) var<storage, read> control: array<f32>;           // [S, 5]: temperature, topK, topP, minP, uniform number
@group(0) @binding(2) var<storage, read> largests: array<vec2u>;        // [S, parts]: key, id
@group(0) @binding(3) var<storage, read_write> ids: array<i32>;         // [S]
@group(1) @binding(0) var<uniform> params: Params;

const THREADS = 256u;
const BINS = 1024u;
const BIN_WIDTH = 1.0 / 32.0;
/** Distance from which on a logit has no mass. */
const RANGE = f32(BINS) * BIN_WIDTH;
/** Logits of a list, and pieces of a bin: one a thread. */
const LISTED = THREADS;
const LISTED_BITS = 8u;
/** Vectors of a thread that are under way at once. */
const AHEAD = 4u;
/** Bins of a thread. */
const ITEMS = BINS / THREADS;
const SCANNED = 16u;
const ALL = 0xffffffffu;

/** Steps: what a pass over the row does with each logit. */
const COUNT_BINS = 0u;
const FIND_BIN = 1u;  // no pass: in the bins that are counted
const FIND_KEYS = 2u;
const COUNT_PIECES = 3u;
const MAKE_LIST = 4u;
const ADD_MASS = 5u;

/** What is searched for, in this order. */
const LAST_OF_COUNT = 1u;  // by topK
const LAST_OF_MASS = 2u;   // by topP
const MASS_WITHIN = 3u;    // of minP
const DRAWN = 4u;

/** Kinds of goals of a running total, count and mass. */
const COUNTED = 0u;
const REACHED = 1u;
const EXCEEDED = 2u;

var<workgroup> counts: array<atomic<u32>, BINS>;
var<workgroup> excesses: array<atomic<u32>, BINS>;
/** Keys and ids of a list, or counts and excesses of pieces. */
var<workgroup> firsts: array<atomic<u32>, LISTED>;
var<workgroup> seconds: array<atomic<u32>, LISTED>;
var<workgroup> listed: atomic<u32>;
var<workgroup> lowestKey: atomic<u32>;
var<workgroup> highestKey: atomic<u32>;
var<workgroup> keyRange: vec2u;
var<workgroup> threadTotals: array<vec2f, THREADS>;
var<workgroup> groupTotals: array<vec2f, SCANNED>;
var<workgroup> firstMet: atomic<u32>;
var<workgroup> lastFilled: atomic<u32>;
var<workgroup> crossing: Crossing;
var<workgroup> placed: Place;

struct Goal {
  kind: u32,
  value: f32,
}

/** The first item whose running total meets a goal, or the last one where rounding leaves the goal just behind it. */
struct Crossing {
  index: u32,
  before: vec2f,
  including: vec2f,
  /** Of all items. */
  all: vec2f,
}

/** Logits of a bin whose keys and ids lie between two, and how they are divided. */
struct Part {
  bin: u32,
  lowKey: u32,
  highKey: u32,
  lowId: u32,
  highId: u32,
  count: u32,
  shift: u32,
}

/** A token in the order, and the mass up to it. */
struct Place {
  key: u32,
  id: u32,
  mass: f32,
}

// The row, the same for all threads, and a thread's part of a mass.
var<private> rowStart: u32;
var<private> largest: f32;
var<private> inverseTemperature: f32;
var<private> massLimit: f32;
var<private> massSum: f32;

fn distanceOf(logit: f32) -> f32 {
  return (largest - logit) * inverseTemperature;
}

fn isBefore(key: u32, id: u32, otherKey: u32, otherId: u32) -> bool {
  return key > otherKey || (key == otherKey && id < otherId);
}

/** By how much a logit's mass is less than that at its bin's start, over the latter, as an integer. */
fn excessOf(distance: f32, bin: u32) -> u32 {
  let x = distance - f32(bin) * BIN_WIDTH;
  // 1 - exp(-x), where x is below 1/32.
  return u32(x * (1.0 - x * (0.5 - x * (1.0 / 6.0))) * params.excessScale + 0.5);
}

fn totalsOf(count: u32, excess: u32, bin: u32) -> vec2f {
  return vec2f(f32(count), exp(-f32(bin) * BIN_WIDTH) * (f32(count) - f32(excess) / params.excessScale));
}

fn isMet(goal: Goal, totals: vec2f) -> bool {
  if (goal.kind == COUNTED) {
    return totals.x >= goal.value;
  }
  return select(totals.y >= goal.value, totals.y > goal.value, goal.kind == EXCEEDED);
}

/** By the ids where all keys are the same. */
fn pieceOf(part: Part, key: u32, id: u32) -> u32 {
  return select(part.highKey - key, id - part.lowId, part.lowKey == part.highKey) >> part.shift;
}

/** So many bits to drop that a span has LISTED pieces or fewer. */
fn shiftFor(part: Part) -> u32 {
  let span = select(part.highKey - part.lowKey, part.highId - part.lowId, part.lowKey == part.highKey);
  return u32(max(0, 32 - i32(LISTED_BITS) - i32(countLeadingZeros(span))));
}

/** The piece of a part that is left when the others are out of question. */
fn narrowed(part: Part, piece: u32, count: u32) -> Part {
  var result = part;
  result.count = count;
  let start = piece << part.shift;
  let end = ((piece + 1u) << part.shift) - 1u;
  if (part.lowKey == part.highKey) {
    result.lowId = part.lowId + start;
    result.highId = part.lowId + min(part.highId - part.lowId, end);
  } else {
    result.highKey = part.highKey - start;
    result.lowKey = part.highKey - min(part.highKey - part.lowKey, end);
  }
  return result;
}

fn visit(step: u32, part: Part, key: u32, id: u32, distance: f32) {
  switch (step) {
    case COUNT_BINS: {
      let bin = u32(distance / BIN_WIDTH);
      atomicAdd(&counts[bin], 1u);
      atomicAdd(&excesses[bin], excessOf(distance, bin));
    }
    case FIND_KEYS: {
      atomicMin(&lowestKey, key);
      atomicMax(&highestKey, key);
    }
    case COUNT_PIECES: {
      let piece = pieceOf(part, key, id);
      atomicAdd(&firsts[piece], 1u);
      atomicAdd(&seconds[piece], excessOf(distance, part.bin));
    }
    case MAKE_LIST: {
      let slot = min(atomicAdd(&listed, 1u), LISTED - 1u);
      atomicStore(&firsts[slot], key);
      atomicStore(&seconds[slot], id);
    }
    default: {
      massSum += select(0.0, exp(-distance), distance <= massLimit);
    }
  }
}

/** One pass over the row: the logits of a part, or of all bins. */
fn visitRow(step: u32, part: Part, thread: u32) {
  let isWhole = step == COUNT_BINS || step == ADD_MASS;
  let start = select(f32(part.bin) * BIN_WIDTH, 0.0, isWhole);
  let end = select(f32(part.bin + 1u) * BIN_WIDTH, RANGE, isWhole);
  for (var first = thread; first < params.vectors; first += THREADS * AHEAD) {
    var batch: array<Vector, AHEAD>;
    for (var turn = 0u; turn < AHEAD; turn++) {
      batch[turn] = Vector(logits[rowStart + min(first + turn * THREADS, params.vectors - 1u)]);
    }
    for (var turn = 0u; turn < AHEAD; turn++) {
      let index = first + turn * THREADS;
      for (var component = 0u; component < VECTOR; component++) {
        let logit = logitOf(componentOf(batch[turn], component));
        let distance = distanceOf(logit);
        let key = keyOf(logit);
        let id = index * VECTOR + component;
        let isIn = distance >= start && distance < end && key >= part.lowKey && key <= part.highKey && id >= part.lowId && id <= part.highId;
        if (isIn && index < params.vectors) {
          visit(step, part, key, id, distance);
        }
      }
    }
  }
}

/** What a thread adds to the running totals of a step. */
fn itemsOf(step: u32, part: Part, thread: u32) -> array<vec2f, ITEMS> {
  var items: array<vec2f, ITEMS>;
  if (step == COUNT_PIECES) {
    items[0] = totalsOf(atomicLoad(&firsts[thread]), atomicLoad(&seconds[thread]), part.bin);
  } else if (step == ADD_MASS) {
    items[0] = vec2f(0.0, massSum);
  } else {
    for (var item = 0u; item < ITEMS; item++) {
      let bin = thread * ITEMS + item;
      items[item] = totalsOf(atomicLoad(&counts[bin]), atomicLoad(&excesses[bin]), bin);
    }
  }
  return items;
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
      if (met.index == ALL && isMet(goal, including)) {
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

/** The place among the logits of a list, one a thread: how many come before is counted for each. */
fn placeInList(part: Part, goal: Goal, start: vec2f, thread: u32) -> Place {
  let key = atomicLoad(&firsts[thread]);
  let id = atomicLoad(&seconds[thread]);
  var rank = 0u;
  var excess = excessOf(distanceOf(logitOfKey(key)), part.bin);
  for (var other = 0u; other < part.count; other++) {
    let otherKey = atomicLoad(&firsts[other]);
    if (isBefore(otherKey, atomicLoad(&seconds[other]), key, id)) {
      rank++;
      excess += excessOf(distanceOf(logitOfKey(otherKey)), part.bin);
    }
  }
  let isListed = thread < part.count;
  let including = start + totalsOf(rank + 1u, excess, part.bin);
  if (isListed && isMet(goal, including)) {
    atomicMin(&firstMet, rank);
  }
  workgroupBarrier();
  if (isListed && rank == min(atomicLoad(&firstMet), part.count - 1u)) {
    placed = Place(key, id, including.y);
  }
  return workgroupUniformLoad(&placed);
}

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) thread: u32) {
  let row = workgroupIndex(group, groups);
  if (row >= params.rows) {
    return;
  }
  let temperature = control[row * 5u];
  let topK = ceil(control[row * 5u + 1u]);
  let topP = control[row * 5u + 2u];
  let minP = control[row * 5u + 3u];
  let uniformNumber = control[row * 5u + 4u];
  var likeliest = vec2u();
  for (var part = 0u; part < params.parts; part++) {
    let own = largests[row * params.parts + part];
    if (own.x > likeliest.x) {
      likeliest = own;
    }
  }
  const INFINITE_KEY = 0xff800000u;
  // There are shares to draw by only where the largest is finite.
  if (!(temperature > 0.0) || likeliest.x >= INFINITE_KEY || logitOfKey(likeliest.x) <= LEAST_LOGIT) {
    if (thread == 0u) {
      ids[row] = i32(likeliest.y);
    }
    return;
  }
  rowStart = row * params.vectors;
  largest = logitOfKey(likeliest.x);
  inverseTemperature = 1.0 / max(temperature, 1e-37);
  let limit = select(RANGE, max(-log(max(minP, 1e-37)), 0.0), minP > 0.0);
  massLimit = limit;
  const whole = Part(0u, 0u, ALL, 0u, ALL, 0u, 0u);

  var step = COUNT_BINS;
  var search = 0u;
  var goal = Goal();
  var part = whole;
  var start = vec2f();
  var binned = vec2f();
  var kept = 0.0;
  // The last token that is kept, and the one that was found.
  var last = Place(0u, ALL, 0.0);
  var found = last;
  while (search <= DRAWN) {
    workgroupBarrier();
    atomicStore(&firsts[thread], 0u);
    atomicStore(&seconds[thread], 0u);
    if (thread == 0u) {
      atomicStore(&listed, 0u);
      atomicStore(&lowestKey, ALL);
      atomicStore(&highestKey, 0u);
      atomicStore(&firstMet, ALL);
      atomicStore(&lastFilled, 0u);
    }
    workgroupBarrier();
    if (step != FIND_BIN) {
      visitRow(step, part, thread);
    }
    workgroupBarrier();
    if (step == FIND_KEYS) {
      if (thread == 0u) {
        keyRange = vec2u(atomicLoad(&lowestKey), atomicLoad(&highestKey));
      }
      let range = workgroupUniformLoad(&keyRange);
      part.lowKey = range.x;
      part.highKey = range.y;
      part.shift = shiftFor(part);
      step = COUNT_PIECES;
      continue;
    }
    if (step == MAKE_LIST) {
      found = placeInList(part, goal, start, thread);
      if (search != DRAWN && isBefore(found.key, found.id, last.key, last.id)) {
        last = found;
        kept = found.mass;
      }
    } else {
      let crossed = findCrossing(goal, start, itemsOf(step, part, thread), thread);
      if (step == COUNT_BINS) {
        binned = crossed.all;
        kept = binned.y;
      } else if (step == ADD_MASS) {
        kept = min(kept, crossed.all.y);
      } else {
        start = crossed.before;
        let count = u32(crossed.including.x - crossed.before.x);
        if (step == FIND_BIN) {
          part = whole;
          part.bin = crossed.index;
          part.highId = params.vectors * VECTOR - 1u;
          part.count = count;
        } else {
          part = narrowed(part, crossed.index / ITEMS, count);
          part.shift = shiftFor(part);
        }
        step = select(select(FIND_KEYS, COUNT_PIECES, part.lowKey == part.highKey), MAKE_LIST, count <= LISTED);
        continue;
      }
    }
    search++;
    if (search == LAST_OF_COUNT && !(topK > 0.0 && topK <= binned.x)) {
      search++;
    }
    if (search == LAST_OF_MASS && !(topP < 1.0)) {
      search++;
    }
    if (search == MASS_WITHIN && !(limit < RANGE)) {
      search++;
    }
    start = vec2f();
    part = whole;
    step = select(FIND_BIN, ADD_MASS, search == MASS_WITHIN);
    if (search == LAST_OF_COUNT) {
      goal = Goal(COUNTED, topK);
    } else if (search == LAST_OF_MASS) {
      goal = Goal(REACHED, topP * kept);
    } else {
      goal = Goal(EXCEEDED, uniformNumber * kept);
    }
  }
  if (thread != 0u) {
    return;
  }
  let isCut = isBefore(last.key, last.id, found.key, found.id);
  let key = select(found.key, last.key, isCut);
  // Sums over bins and over single logits, which are rounded apart, may lead beyond minP: then it is the likeliest.
  ids[row] = i32(select(select(found.id, last.id, isCut), likeliest.y, distanceOf(logitOfKey(key)) > limit));
}
