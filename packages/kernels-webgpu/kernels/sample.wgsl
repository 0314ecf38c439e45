// sample.wgsl: draws a token a row from its candidates, in the order of falling logits, equal ones by rising id, without sorting them.
//
// A workgroup owns a row. The running mass over its bins tells in which bin a cut or the drawn token lies. A bin of up to LISTED logits is listed, and the
// running mass over the list tells which one it is; a larger one is first divided by the bits of its logits, and where these are all the same, by those of the
// ids. Each of these steps is one pass over the candidates. Everything is one loop over steps, with one place each for the pass and for the running totals:
// compilers take minutes for copies of these.
// Bound: latency of the passes. Numerics: masses in f32 from integer counts, so that no sum depends on a race. What is less likely than exp(-32) times the
// likeliest is never drawn: all of it together is less than a step of the uniform number.

@group(0) @binding(3) var<storage, read> bins: array<u32>;        // [S, ROW_WORDS]
@group(0) @binding(4) var<storage, read> candidates: array<u32>;  // [S, V]
@group(0) @binding(5) var<storage, read_write> ids: array<i32>;   // [S]

/** Logits of a list, and pieces of a bin: one a thread. */
const LISTED = THREADS;
const LISTED_BITS = 8u;
/** Candidates of a thread that are under way at once. */
const AHEAD = 4u;

/** Steps: what a pass over the candidates does with each logit. */
const FIND_BIN = 0u;  // no pass: in the bins that are counted
const FIND_KEYS = 1u;
const COUNT_PIECES = 2u;
const MAKE_LIST = 3u;
const ADD_MASS = 4u;

/** What is searched for, in this order. */
const LAST_OF_COUNT = 1u;  // by topK
const LAST_OF_MASS = 2u;   // by topP
const MASS_WITHIN = 3u;    // of minP
const DRAWN = 4u;

/** Keys and ids of a list, or counts and excesses of pieces. */
var<workgroup> firsts: array<atomic<u32>, LISTED>;
var<workgroup> seconds: array<atomic<u32>, LISTED>;
var<workgroup> listed: atomic<u32>;
var<workgroup> lowestKey: atomic<u32>;
var<workgroup> highestKey: atomic<u32>;
var<workgroup> keyRange: vec2u;
var<workgroup> placed: Place;

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

/** A thread's part of a mass. */
var<private> massSum: f32;

fn isBefore(key: u32, id: u32, otherKey: u32, otherId: u32) -> bool {
  return key > otherKey || (key == otherKey && id < otherId);
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

fn visit(step: u32, draw: Draw, part: Part, key: u32, id: u32, distance: f32) {
  switch (step) {
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
      massSum += select(0.0, exp(-distance), distance <= draw.limit);
    }
  }
}

/** One pass over the candidates: the logits of a part, or of all bins. */
fn visitCandidates(step: u32, row: u32, draw: Draw, part: Part, thread: u32) {
  let isWhole = step == ADD_MASS;
  let start = select(f32(part.bin) * BIN_WIDTH, 0.0, isWhole);
  let end = select(f32(part.bin + 1u) * BIN_WIDTH, RANGE, isWhole);
  let count = bins[row * ROW_WORDS + CANDIDATES];
  let rowStart = row * params.vectors;
  for (var first = thread; first < count; first += THREADS * AHEAD) {
    var batchIds: array<u32, AHEAD>;
    var batch: array<f32, AHEAD>;
    for (var turn = 0u; turn < AHEAD; turn++) {
      let id = candidates[rowStart * VECTOR + min(first + turn * THREADS, count - 1u)];
      batchIds[turn] = id;
      batch[turn] = logitOf(componentOf(Vector(logits[rowStart + id / VECTOR]), id % VECTOR));
    }
    for (var turn = 0u; turn < AHEAD; turn++) {
      let id = batchIds[turn];
      let distance = distanceOf(draw, batch[turn]);
      let key = keyOf(batch[turn]);
      let isIn = distance >= start && distance < end && key >= part.lowKey && key <= part.highKey && id >= part.lowId && id <= part.highId;
      if (isIn && first + turn * THREADS < count) {
        visit(step, draw, part, key, id, distance);
      }
    }
  }
}

/** What a thread adds to the running totals of a step. */
fn itemsOf(step: u32, row: u32, part: Part, thread: u32) -> array<vec2f, ITEMS> {
  var items: array<vec2f, ITEMS>;
  if (step == COUNT_PIECES) {
    items[0] = totalsOf(atomicLoad(&firsts[thread]), atomicLoad(&seconds[thread]), part.bin);
  } else if (step == ADD_MASS) {
    items[0] = vec2f(0.0, massSum);
  } else {
    let words = row * ROW_WORDS;
    for (var item = 0u; item < ITEMS; item++) {
      let bin = thread * ITEMS + item;
      if (bin <= bins[words + LAST_BIN]) {
        items[item] = totalsOf(bins[words + bin], bins[words + BINS + bin], bin);
      }
    }
  }
  return items;
}

/** The place among the logits of a list, one a thread: how many come before is counted for each. */
fn placeInList(draw: Draw, part: Part, goal: Goal, start: vec2f, thread: u32) -> Place {
  let key = atomicLoad(&firsts[thread]);
  let id = atomicLoad(&seconds[thread]);
  var rank = 0u;
  var excess = excessOf(distanceOf(draw, logitOfKey(key)), part.bin);
  for (var other = 0u; other < part.count; other++) {
    let otherKey = atomicLoad(&firsts[other]);
    if (isBefore(otherKey, atomicLoad(&seconds[other]), key, id)) {
      rank++;
      excess += excessOf(distanceOf(draw, logitOfKey(otherKey)), part.bin);
    }
  }
  let isListed = thread < part.count;
  let including = start + totalsOf(rank + 1u, excess, part.bin);
  if (isListed && isMet(goal, including, vec2f())) {
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
  let draw = rowDraw(row);
  if (!draw.hasShares) {
    if (thread == 0u) {
      ids[row] = i32(draw.likeliest);
    }
    return;
  }
  const whole = Part(0u, 0u, ALL, 0u, ALL, 0u, 0u);
  let binnedCount = f32(bins[row * ROW_WORDS + BINNED_COUNT]);

  var step = FIND_BIN;
  var search = 0u;
  var goal = Goal();
  var part = whole;
  var start = vec2f();
  var kept = bitcast<f32>(bins[row * ROW_WORDS + BINNED_MASS]);
  // The last token that is kept, and the one that was found.
  var last = Place(0u, ALL, 0.0);
  var found = last;
  while (search <= DRAWN) {
    var isOver = search == 0u;
    if (!isOver) {
      workgroupBarrier();
      atomicStore(&firsts[thread], 0u);
      atomicStore(&seconds[thread], 0u);
      if (thread == 0u) {
        atomicStore(&listed, 0u);
        atomicStore(&lowestKey, ALL);
        atomicStore(&highestKey, 0u);
      }
      resetCrossing(thread);
      workgroupBarrier();
      if (step != FIND_BIN) {
        visitCandidates(step, row, draw, part, thread);
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
      } else if (step == MAKE_LIST) {
        found = placeInList(draw, part, goal, start, thread);
        if (search != DRAWN && isBefore(found.key, found.id, last.key, last.id)) {
          last = found;
          kept = found.mass;
        }
        isOver = true;
      } else {
        let crossed = findCrossing(goal, start, itemsOf(step, row, part, thread), thread);
        if (step == ADD_MASS) {
          kept = min(kept, crossed.all.y);
          isOver = true;
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
        }
      }
    }
    if (isOver) {
      search++;
      if (search == LAST_OF_COUNT && !(draw.topK > 0.0 && draw.topK <= binnedCount)) {
        search++;
      }
      if (search == LAST_OF_MASS && !(draw.topP < 1.0)) {
        search++;
      }
      if (search == MASS_WITHIN && !(draw.limit < RANGE)) {
        search++;
      }
      start = vec2f();
      part = whole;
      step = select(FIND_BIN, ADD_MASS, search == MASS_WITHIN);
      if (search == LAST_OF_COUNT) {
        goal = Goal(COUNTED, draw.topK, 0.0);
      } else if (search == LAST_OF_MASS) {
        goal = Goal(REACHED, draw.topP * kept, 0.0);
      } else {
        goal = Goal(EXCEEDED, draw.uniformNumber * kept, 0.0);
      }
    }
  }
  if (thread != 0u) {
    return;
  }
  let isCut = isBefore(last.key, last.id, found.key, found.id);
  let key = select(found.key, last.key, isCut);
  // Sums over bins and over single logits, which are rounded apart, may lead beyond minP: then it is the likeliest.
  ids[row] = i32(select(select(found.id, last.id, isCut), draw.likeliest, distanceOf(draw, logitOfKey(key)) > draw.limit));
}
