// best_blocks.wgsl: a workgroup of 64 or 256 threads chooses the best blocks of one query by keys, whole numbers in the order of scores.
//
// 64 lanes, of one thread or four, have a largest key each; the topK-th largest of these is a bound that at least topK blocks reach, and mostly few more
// do: they are ranked among one another. Where too many reach it (ties), the bound is bisected until it is exact. Ties go to the lower index (spec 4).
// In front of a kernel that has `selected` and `fourKeys(choice, run)`: keys of blocks 4 run to 4 run + 3, LEAST_KEY or more for candidates and 0 for
// others.

/** What is chosen from; `own` and `columns` are for `fourKeys`. */
struct Choice {
  candidates: vec2u,
  topK: u32,  // fewer than the candidates
  own: u32,
  columns: u32,
}

/** Blocks that are ranked among one another. */
override MOST_RANKED: u32;
/** Smallest key of a block; 0 is none. */
const LEAST_KEY = 1u;

var<workgroup> maxima: array<u32, THREADS>;
var<workgroup> laneMaxima: array<vec4u, 16>;
var<workgroup> least: atomic<u32>;
var<workgroup> counted: atomic<u32>;
var<workgroup> countedForAll: u32;
var<workgroup> rankedKeys: array<u32, MOST_RANKED>;
var<workgroup> rankedBlocks: array<u32, MOST_RANKED>;
var<workgroup> chosen: array<u32, 64>;

/** Whole numbers in the order of the scores, from LEAST_KEY on; NaN is the smallest. */
fn orderedKeys(sums: vec4f) -> vec4u {
  // Both zeros are one.
  let bits = bitcast<vec4u>(select(sums, vec4f(), sums == vec4f()));
  let ordered = select(bits | vec4u(0x80000000u), ~bits, (bits & vec4u(0x80000000u)) != vec4u());
  let isNumber = (bits & vec4u(0x7fffffffu)) <= vec4u(0x7f800000u);
  return select(vec4u(LEAST_KEY), max(ordered, vec4u(LEAST_KEY)), isNumber);
}

/** The same for scores that are at least 0: their bits are in order. */
fn positiveKeys(scores: vec4f) -> vec4u {
  let bits = bitcast<vec4u>(scores);
  return max(select(bits, vec4u(), bits > vec4u(0x7f800000u)), vec4u(LEAST_KEY));
}

/** First run of four blocks of a thread; the others follow THREADS after one another. Whoever writes run n for n % THREADS of its own reads what it wrote. */
fn firstRun(choice: Choice, thread: u32) -> u32 {
  return choice.candidates.x / (4u * THREADS) * THREADS + thread;
}

/** The largest key of this thread. */
fn largestKey(choice: Choice, thread: u32) -> u32 {
  var largest = vec4u();
  for (var run = firstRun(choice, thread); run * 4u < choice.candidates.y; run += THREADS) {
    largest = max(largest, fourKeys(choice, run));
  }
  return largestOf(largest);
}

fn largestOf(keys: vec4u) -> u32 {
  return max(max(keys.x, keys.y), max(keys.z, keys.w));
}

/** Writes the topK blocks of the largest keys, ascending. @param largest key of this thread @param firstSlot in `selected` */
fn chooseBest(choice: Choice, largest: u32, firstSlot: u32, thread: u32) {
  let topK = choice.topK;
  findBound(largest, topK, thread);
  let bound = max(atomicLoad(&least), LEAST_KEY);
  if (largest >= bound) {
    takeFrom(choice, bound, thread);
  }
  var ranked = countedSoFar(thread);
  if (ranked > MOST_RANKED) {
    takeExactly(choice, thread);
    ranked = topK;
  }
  for (var place = thread; place < ranked; place += THREADS) {
    let key = rankedKeys[place];
    let block = rankedBlocks[place];
    var rank = 0u;
    for (var other = 0u; other < ranked; other++) {
      rank += select(0u, 1u, rankedKeys[other] > key || (rankedKeys[other] == key && rankedBlocks[other] < block));
    }
    if (rank < topK) {
      chosen[rank] = block;
    }
  }
  workgroupBarrier();
  if (thread < topK) {
    let block = chosen[thread];
    var place = 0u;
    for (var other = 0u; other < topK; other++) {
      place += select(0u, 1u, chosen[other] < block);
    }
    selected[firstSlot + place] = i32(block);
  }
}

/** Writes a row of all candidates, as few as they are, or of none. @param topK of the row */
fn chooseAll(candidates: vec2u, topK: u32, firstSlot: u32, thread: u32) {
  if (thread < candidates.y - candidates.x) {
    selected[firstSlot + thread] = i32(candidates.x + thread);
  }
  fill(firstSlot, candidates.y - candidates.x, topK, thread);
}

/** Writes -1 from slot `start` of a row up to `end`. */
fn fill(firstSlot: u32, start: u32, end: u32, thread: u32) {
  if (start + thread < end) {
    selected[firstSlot + start + thread] = -1;
  }
}

/** The topK-th largest of the lanes' largest keys becomes `least`. Ends with a barrier. */
fn findBound(largest: u32, topK: u32, thread: u32) {
  maxima[thread] = largest;
  if (thread == 0u) {
    atomicStore(&counted, 0u);
    atomicStore(&least, 0xffffffffu);
  }
  workgroupBarrier();
  if (thread < 16u) {
    var four = vec4u();
    for (var other = thread * 4u; other < THREADS; other += 64u) {
      four = max(four, vec4u(maxima[other], maxima[other + 1u], maxima[other + 2u], maxima[other + 3u]));
    }
    laneMaxima[thread] = four;
  }
  workgroupBarrier();
  if (thread < 64u) {
    let own = laneMaxima[thread / 4u][thread % 4u];
    var larger = 0u;
    for (var four = 0u; four < 16u; four++) {
      let isLarger = select(vec4u(), vec4u(1u), laneMaxima[four] > vec4u(own));
      larger += isLarger.x + isLarger.y + isLarger.z + isLarger.w;
    }
    // The least of those that fewer than topK are larger than.
    if (larger < topK) {
      atomicMin(&least, own);
    }
  }
  workgroupBarrier();
}

/** Takes this thread's blocks with a key of at least `least`. */
fn takeFrom(choice: Choice, least: u32, thread: u32) {
  for (var run = firstRun(choice, thread); run * 4u < choice.candidates.y; run += THREADS) {
    let keys = fourKeys(choice, run);
    if (largestOf(keys) < least) {
      continue;
    }
    for (var i = 0u; i < 4u; i++) {
      if (keys[i] >= least) {
        take(keys[i], run * 4u + i);
      }
    }
  }
}

fn take(key: u32, block: u32) {
  let place = atomicAdd(&counted, 1u);
  if (place < MOST_RANKED) {
    rankedKeys[place] = key;
    rankedBlocks[place] = block;
  }
}

/** What `counted` has come to, for all threads. */
fn countedSoFar(thread: u32) -> u32 {
  workgroupBarrier();
  if (thread == 0u) {
    countedForAll = atomicLoad(&counted);
  }
  return workgroupUniformLoad(&countedForAll);
}

fn resetCount(thread: u32) {
  workgroupBarrier();
  if (thread == 0u) {
    atomicStore(&counted, 0u);
  }
  workgroupBarrier();
}

/** Number of candidates with a key of at least `least`. */
fn countFrom(choice: Choice, least: u32, thread: u32) -> u32 {
  resetCount(thread);
  var found = vec4u();
  for (var run = firstRun(choice, thread); run * 4u < choice.candidates.y; run += THREADS) {
    found += select(vec4u(), vec4u(1u), fourKeys(choice, run) >= vec4u(least));
  }
  atomicAdd(&counted, found.x + found.y + found.z + found.w);
  return countedSoFar(thread);
}

/** Takes exactly topK: those above the topK-th largest key, and of the ones equal to it those of the lowest indices. Ends with a barrier. */
fn takeExactly(choice: Choice, thread: u32) {
  var low = LEAST_KEY;
  var high = 0xffffffffu;
  while (low < high) {
    let middle = low + (high - low) / 2u + 1u;
    if (countFrom(choice, middle, thread) >= choice.topK) {
      low = middle;
    } else {
      high = middle - 1u;
    }
  }
  // No score has the last key.
  var wanted = choice.topK - countFrom(choice, low + 1u, thread);
  resetCount(thread);
  takeFrom(choice, low + 1u, thread);
  workgroupBarrier();
  // Of equal ones the first: they are near where there are many.
  if (thread == 0u) {
    for (var block = choice.candidates.x; wanted > 0u && block < choice.candidates.y; block++) {
      if (fourKeys(choice, block / 4u)[block % 4u] == low) {
        take(low, block);
        wanted--;
      }
    }
  }
  workgroupBarrier();
}
