// sample.cu: draws a token a row, in the order of falling logits, equal ones by rising id.
//
// A thread block owns a row, whose logits sample_parts.cu has counted in bins of 1/64 by their distance from the largest (times the temperature): the
// running mass over bins tells in which bin a cut or the drawn token lies. The logits of that bin (of all bins up to there, while they are few) are listed
// and sorted, and the running mass over them tells which one it is. A bin with more than 2,048 logits is first divided by their bits; so many equal logits are
// counted by id. Each of these is one pass over the row, which lies in the cache: mostly one.
// Bound: latency; floor of a row read once, V elements at 4.3 TB/s. Numerics: exp in f32, running masses in f64; no sum depends on a race. What is less likely than
// exp(-32) times the likeliest is never drawn: all of it together is less than a step of the uniform number.
#include "sample_bins.cuh"

/** The order's place of a token: its mass with all before it. */
struct Place {
  uint32_t key;
  uint32_t id;
  double mass;
};

/** Logits of consecutive bins, of which keys from `low` to `high` count. */
struct Part {
  int firstBin;
  int lastBin;
  uint32_t low;
  uint32_t high;
  int count;
};

/** A row and what is known of it; the same in all threads. */
template <typename T, int N>
struct Row {
  SampleShared& shared;
  const T* logits;
  int count;
  float excessScale;
  const Draw& draw;
  /** What the list holds, from which totals on; none at first. */
  Part list;
  Totals beforeList;
  /** Up to where the bins are counted, and what they hold. */
  float range;
  Totals binned;

  PHSA_DEVICE float distance(float value) const { return draw.distance(value); }

  PHSA_DEVICE double massOf(uint32_t key) const { return expf(-distance(valueOf(key))); }

  /** Calls visit(id, key, distance) for the logits of a part. */
  template <typename F>
  PHSA_DEVICE void forEachOf(const Part& part, F visit) const {
    const float start = part.firstBin * kBinWidth;
    const float end = (part.lastBin + 1) * kBinWidth;
    forEachLogit<kSampleThreads, N>(logits, 0, count, [&](int id, float value) {
      const float own = distance(value);
      if (!(own >= start && own < end)) return;
      const uint32_t key = keyOf(value);
      if (key >= part.low && key <= part.high) visit(id, key, own);
    });
  }

  /** Takes the bins that the parts have counted together. */
  PHSA_DEVICE void takeBins(const uint32_t* counts, const uint32_t* excesses) {
    for (int bin = threadIdx.x; bin < kItems; bin += kSampleThreads) {
      shared.counts[bin] = bin < kHeadBins ? counts[bin] : 0;
      shared.excesses[bin] = bin < kHeadBins ? excesses[bin] : 0;
    }
    __syncthreads();
    range = kHead;
    binned = totalsOfBins();
  }

  /** Counts all bins. */
  PHSA_DEVICE void countBins() {
    for (int bin = threadIdx.x; bin < kItems; bin += kSampleThreads) shared.counts[bin] = shared.excesses[bin] = 0;
    __syncthreads();
    BinCounter counter(shared.counts, shared.excesses, excessScale);
    forEachLogit<kSampleThreads, N>(logits, 0, count, [&](int, float value) {
      const float own = distance(value);
      if (own < kRange) counter.add(own);
    });
    counter.flush();
    __syncthreads();
    range = kRange;
    binned = totalsOfBins();
  }

  PHSA_DEVICE void itemsOfBins(Totals (&items)[kItemsPerThread]) const {
#pragma unroll
    for (int k = 0; k < kItemsPerThread; k++) {
      const int bin = threadIdx.x * kItemsPerThread + k;
      items[k] = totalsOf(shared.counts[bin], shared.excesses[bin], bin, excessScale);
    }
  }

  PHSA_DEVICE Totals totalsOfBins() {
    Totals items[kItemsPerThread];
    itemsOfBins(items);
    Totals all;
    totalsBefore(shared, {items[0].count + items[1].count, items[0].mass + items[1].mass}, all);
    return all;
  }

  /** The smallest and largest key of a part, in shared memory. */
  PHSA_DEVICE void findKeys(const Part& part) {
    if (threadIdx.x == 0) {
      shared.lowest = 0xffffffffu;
      shared.highest = 0;
    }
    __syncthreads();
    uint32_t lowest = 0xffffffffu;
    uint32_t highest = 0;
    forEachOf(part, [&](int, uint32_t key, float) {
      lowest = min(lowest, key);
      highest = max(highest, key);
    });
    atomicMin(&shared.lowest, lowest);
    atomicMax(&shared.highest, highest);
    __syncthreads();
  }

  /** Divides a part of one bin by bits of its keys, and leaves the piece where the target is met. */
  PHSA_DEVICE void narrow(Part& part, const Target& target, Totals& before) {
    const uint32_t highest = shared.highest;
    const uint32_t span = highest - shared.lowest;
    int shift = 0;
    while (span >> shift >= kItems) shift++;
    for (int piece = threadIdx.x; piece < kItems; piece += kSampleThreads) shared.keys[piece] = shared.ids[piece] = 0;
    __syncthreads();
    forEachOf(part, [&](int, uint32_t key, float distance) {
      const uint32_t piece = (highest - key) >> shift;
      atomicAdd(&shared.keys[piece], 1u);
      atomicAdd(&shared.ids[piece], excessOf(distance, part.firstBin, excessScale));
    });
    __syncthreads();
    Totals items[kItemsPerThread];
#pragma unroll
    for (int k = 0; k < kItemsPerThread; k++) {
      const int piece = threadIdx.x * kItemsPerThread + k;
      items[k] = totalsOf(shared.keys[piece], shared.ids[piece], part.firstBin, excessScale);
    }
    // Rounding may leave the target just behind all of them: then it is the last one.
    if (!findCrossing(shared, target, before, items)) findCrossing(shared, {Kind::kCount, static_cast<double>(before.count + part.count)}, before, items);
    const Crossing crossing = shared.crossing;
    part.high = highest - (static_cast<uint32_t>(crossing.index) << shift);
    part.low = highest - min(span, static_cast<uint32_t>(((static_cast<uint64_t>(crossing.index) + 1) << shift) - 1));
    part.count = crossing.with.count - crossing.before.count;
    before = crossing.before;
    __syncthreads();
  }

  /** The place among logits that all have one key. */
  PHSA_DEVICE Place placeAmongEqual(const Part& part, const Target& target, const Totals& before) {
    const uint32_t key = shared.highest;
    const double mass = massOf(key);
    const double needed = target.kind == Kind::kCount ? target.value - before.count : (target.value - before.mass) / mass;
    const double wanted = target.kind == Kind::kExceeded ? floor(needed) : ceil(needed) - 1.0;
    const int index = static_cast<int>(fmin(fmax(wanted, 0.0), part.count - 1.0));
    // Each thread counts in ids of its own, so that they come in order.
    const int own = (count + kSampleThreads - 1) / kSampleThreads;
    const int start = min(static_cast<int>(threadIdx.x) * own, count);
    const int end = min(start + own, count);
    int found = 0;
    for (int id = start; id < end; id++) found += keyOf(toFloat(logits[id])) == key;
    Totals all;
    int rank = totalsBefore(shared, {found, 0.0}, all).count;
    if (rank <= index && index < rank + found) {
      for (int id = start; id < end; id++) {
        if (keyOf(toFloat(logits[id])) == key && rank++ == index) shared.id = id;
      }
    }
    __syncthreads();
    return {key, static_cast<uint32_t>(shared.id), before.mass + (index + 1) * mass};
  }

  PHSA_DEVICE void makeList(const Part& part, const Totals& before) {
    if (threadIdx.x == 0) shared.listed = 0;
    __syncthreads();
    forEachOf(part, [&](int id, uint32_t key, float) {
      const int slot = atomicAdd(&shared.listed, 1);
      shared.keys[slot] = key;
      shared.ids[slot] = id;
    });
    __syncthreads();
    sortList(shared, part.count);
    list = part;
    beforeList = before;
  }

  PHSA_DEVICE Place placeInList(const Target& target) {
    Totals items[kItemsPerThread];
#pragma unroll
    for (int k = 0; k < kItemsPerThread; k++) {
      const int index = threadIdx.x * kItemsPerThread + k;
      items[k] = index < list.count ? Totals{1, massOf(shared.keys[index])} : Totals{0, 0.0};
    }
    if (!findCrossing(shared, target, beforeList, items)) {
      findCrossing(shared, {Kind::kCount, static_cast<double>(beforeList.count + list.count)}, beforeList, items);
    }
    const Crossing crossing = shared.crossing;
    const Place place = {shared.keys[crossing.index], shared.ids[crossing.index], crossing.with.mass};
    __syncthreads();
    return place;
  }

  /** Finds the bin where the target is met, in shared memory; where rounding leaves it just behind all of them, the last one. */
  PHSA_DEVICE void findBin(const Target& target) {
    Totals items[kItemsPerThread];
    itemsOfBins(items);
    if (findCrossing(shared, target, {0, 0.0}, items)) return;
    if (range < kRange) {
      countBins();
      itemsOfBins(items);
      if (findCrossing(shared, target, {0, 0.0}, items)) return;
    }
    findCrossing(shared, {Kind::kCount, static_cast<double>(binned.count)}, {0, 0.0}, items);
  }

  /** The first token in order whose running total meets the target. */
  PHSA_DEVICE Place find(const Target& target) {
    findBin(target);
    const Crossing crossing = shared.crossing;
    __syncthreads();
    const int bin = crossing.index;
    const bool isWhole = list.low == 0 && list.high == 0xffffffffu;
    if (isWhole && list.firstBin <= bin && bin <= list.lastBin) return placeInList(target);
    Part part = {bin, bin, 0, 0xffffffffu, crossing.with.count - crossing.before.count};
    Totals before = crossing.before;
    // What comes before may be asked for next.
    if (target.kind != Kind::kExceeded && crossing.with.count <= kItems) {
      part.firstBin = 0;
      part.count = crossing.with.count;
      before = {0, 0.0};
    }
    // Narrowing takes the list's memory.
    list.lastBin = -1;
    while (part.count > kItems) {
      findKeys(part);
      if (shared.lowest == shared.highest) return placeAmongEqual(part, target, before);
      narrow(part, target, before);
    }
    makeList(part, before);
    return placeInList(target);
  }

  /** Mass of the tokens whose distance is at most so large. */
  PHSA_DEVICE double massWithin(float limit) {
    double mass = 0.0;
    forEachLogit<kSampleThreads, N>(logits, 0, count, [&](int, float value) {
      const float own = distance(value);
      if (own <= limit) mass += expf(-own);
    });
    Totals all;
    totalsBefore(shared, {0, mass}, all);
    return all.mass;
  }
};

/** The searches of a draw, in order; the last one is a way out. */
enum Stage { kTopK, kTopP, kDraw, kLikeliest, kStages };

template <typename T, int N>
PHSA_DEVICE void sample(const SampleParams& params) {
  __shared__ SampleShared shared;
  const int64_t index = blockIdx.x;
  const Draw draw(params, index);
  if (!draw.hasShares()) {
    // The first part that has the largest has it first.
    if (threadIdx.x != 0) return;
    int part = 0;
    while (part < params.parts - 1 && params.largest[index * params.parts + part] != draw.largest) part++;
    params.ids[index] = params.likeliest[index * params.parts + part];
    return;
  }
  const T* logits = static_cast<const T*>(params.logits) + index * params.vocabulary;
  Row<T, N> row = {shared, logits, params.vocabulary, params.excessScale, draw, {1, 0, 0, 0xffffffffu, 0}, {0, 0.0}, 0.0f, {0, 0.0}};
  row.takeBins(params.counts + index * kHeadBins, params.excesses + index * kHeadBins);
  const float topK = draw.topK, topP = draw.topP, minP = draw.minP, uniform = draw.uniform;
  double rest = 0.0;
  if (draw.wantsRest()) {
    for (int part = 0; part < params.parts; part++) rest += params.rests[index * params.parts + part];
  }
  // As many as are kept may reach beyond.
  if (topK > row.binned.count) row.countBins();
  double kept = row.binned.mass + rest;
  const float limit = minP > 0.0f ? fmaxf(-logf(minP), 0.0f) : INFINITY;
  // The last token that is kept, and the one that is drawn.
  Place last = {0, 0xffffffffu, 0.0};
  Place drawn = last;
  // One place in the code that searches: it is long.
#pragma unroll 1
  for (int stage = 0; stage < kStages; stage++) {
    Target target = {Kind::kCount, 1.0};
    if (stage == kTopK) {
      if (!(topK > 0.0f) || topK > row.binned.count) continue;
      target = {Kind::kCount, topK};
    } else if (stage == kTopP) {
      if (!(topP < 1.0f)) continue;
      target = {Kind::kReached, topP * kept};
    } else if (stage == kDraw) {
      if (limit < kRange) kept = fmin(kept, row.massWithin(limit));
      target = {Kind::kExceeded, uniform * kept};
    } else if (row.distance(valueOf(drawn.key)) <= limit) {
      // Only where sums over bins and over lists, which are rounded apart, lead beyond minP is it the likeliest instead.
      continue;
    }
    drawn = row.find(target);
    if (stage < kDraw && isBefore(drawn.key, drawn.id, last.key, last.id)) {
      last = drawn;
      kept = drawn.mass;
    }
    if (isBefore(last.key, last.id, drawn.key, drawn.id)) drawn = last;
  }
  if (threadIdx.x == 0) params.ids[index] = static_cast<int>(drawn.id);
}

#define INSTANCE(SUFFIX, T)                                                                \
  PHSA_KERNEL(sample_##SUFFIX##_vector, SampleParams, kSampleThreads, sample<T, kVector<T>>) \
  PHSA_KERNEL(sample_##SUFFIX##_any, SampleParams, kSampleThreads, sample<T, 1>)
INSTANCE(f32, float)
INSTANCE(bf16, bf16)
