// sample_order.cuh: logits of a row in falling order, without sorting the row: keys, running totals over a thread block, and lists that are sorted.
#pragma once
#include "elements.cuh"
#include "warp.cuh"

constexpr int kSampleThreads = 1024;
/** Bins of a histogram, and entries of a list. */
constexpr int kItems = 2048;
constexpr int kItemsPerThread = kItems / kSampleThreads;

/** How many, and their mass: probability over that of the likeliest. */
struct Totals {
  int count;
  double mass;
};

/** What a running total must come to. */
enum class Kind { kCount, kReached, kExceeded };

struct Target {
  Kind kind;
  double value;

  PHSA_DEVICE bool isMet(const Totals& totals) const {
    if (kind == Kind::kCount) return totals.count >= value;
    return kind == Kind::kReached ? totals.mass >= value : totals.mass > value;
  }
};

/** The first item whose running total meets a target: its index, the totals before it, and with it. */
struct Crossing {
  int index;
  Totals before;
  Totals with;
};

struct SampleShared {
  /** Histogram over bins of the same width. */
  uint32_t counts[kItems];
  uint32_t excesses[kItems];
  /** A list in falling order, or a histogram over part of a bin. */
  uint32_t keys[kItems];
  uint32_t ids[kItems];
  Totals warpTotals[kLanes];
  Crossing crossing;
  int first;
  uint32_t lowest;
  uint32_t highest;
  int listed;
  int id;
};

/** A number that rises with the value, and is the same for both zeros. */
PHSA_DEVICE uint32_t keyOf(float value) {
  const uint32_t bits = __float_as_uint(value + 0.0f);
  return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

PHSA_DEVICE float valueOf(uint32_t key) { return __uint_as_float(key & 0x80000000u ? key ^ 0x80000000u : ~key); }

/** Logits of a thread that are under way at once. */
constexpr int kAhead = 16;

/** Calls visit(id, value) for the logits of a row from `start` to `end`, which N divides. */
template <int kBlockThreads, int N, typename T, typename F>
PHSA_DEVICE void forEachLogit(const T* logits, int start, int end, F visit) {
  constexpr int kStep = kBlockThreads * N;
  constexpr int kBatch = N == 1 ? 4 : kAhead / N;
#pragma unroll 1
  for (int first = start + threadIdx.x * N; first < end; first += kStep * kBatch) {
    Pack<T, N> packs[kBatch];
#pragma unroll
    for (int k = 0; k < kBatch; k++) {
      if (first + k * kStep < end) packs[k] = *reinterpret_cast<const Pack<T, N>*>(logits + first + k * kStep);
    }
#pragma unroll
    for (int k = 0; k < kBatch; k++) {
      if (first + k * kStep >= end) break;
#pragma unroll
      for (int i = 0; i < N; i++) visit(first + k * kStep + i, toFloat(packs[k].values[i]));
    }
  }
}

/** Of the lanes up to this one, in the same order each time. */
PHSA_DEVICE Totals warpPrefix(Totals own) {
#pragma unroll
  for (int offset = 1; offset < kLanes; offset *= 2) {
    const int count = __shfl_up_sync(kWholeWarp, own.count, offset);
    const double mass = __shfl_up_sync(kWholeWarp, own.mass, offset);
    if (laneIndex() >= offset) own = {own.count + count, own.mass + mass};
  }
  return own;
}

/** Totals of the threads before this one; `all` becomes those of all. */
PHSA_DEVICE Totals totalsBefore(SampleShared& shared, Totals own, Totals& all) {
  static_assert(kSampleThreads == kLanes * kLanes);
  const Totals with = warpPrefix(own);
  __syncthreads();
  if (laneIndex() == kLanes - 1) shared.warpTotals[warpIndex()] = with;
  __syncthreads();
  const Totals warps = warpPrefix(shared.warpTotals[laneIndex()]);
  const int previous = max(warpIndex() - 1, 0);
  Totals before = {__shfl_sync(kWholeWarp, warps.count, previous), __shfl_sync(kWholeWarp, warps.mass, previous)};
  if (warpIndex() == 0) before = {0, 0.0};
  all = {__shfl_sync(kWholeWarp, warps.count, kLanes - 1), __shfl_sync(kWholeWarp, warps.mass, kLanes - 1)};
  return {before.count + with.count - own.count, before.mass + (with.mass - own.mass)};
}

/**
 * The first of all threads' items that meets the target when they are added up in order, starting from `start`.
 * @returns false where none does
 */
PHSA_DEVICE bool findCrossing(SampleShared& shared, const Target& target, const Totals& start, const Totals (&items)[kItemsPerThread]) {
  Totals own = {0, 0.0};
#pragma unroll
  for (int k = 0; k < kItemsPerThread; k++) own = {own.count + items[k].count, own.mass + items[k].mass};
  Totals all;
  Totals running = totalsBefore(shared, own, all);
  running = {running.count + start.count, running.mass + start.mass};
  if (threadIdx.x == 0) shared.first = kItems;
  __syncthreads();
  Crossing crossing = {kItems, running, running};
#pragma unroll
  for (int k = 0; k < kItemsPerThread; k++) {
    const Totals with = {running.count + items[k].count, running.mass + items[k].mass};
    if (crossing.index == kItems && items[k].count > 0 && target.isMet(with)) {
      crossing = {static_cast<int>(threadIdx.x) * kItemsPerThread + k, running, with};
    }
    running = with;
  }
  if (crossing.index < kItems) atomicMin(&shared.first, crossing.index);
  __syncthreads();
  if (crossing.index == shared.first && crossing.index < kItems) shared.crossing = crossing;
  __syncthreads();
  return shared.first < kItems;
}

/** Whether an entry comes before another: by falling key, the same ones by rising id. */
PHSA_DEVICE bool isBefore(uint32_t key, uint32_t id, uint32_t otherKey, uint32_t otherId) {
  return key != otherKey ? key > otherKey : id < otherId;
}

/** Sorts the list; bitonic, over as many entries as the next power of two. */
PHSA_DEVICE void sortList(SampleShared& shared, int count) {
  int size = 1;
  while (size < count) size *= 2;
  for (int index = count + threadIdx.x; index < size; index += kSampleThreads) {
    shared.keys[index] = 0;
    shared.ids[index] = 0xffffffffu;
  }
  __syncthreads();
  for (int run = 2; run <= size; run *= 2) {
    for (int distance = run / 2; distance > 0; distance /= 2) {
      const int index = threadIdx.x / distance * 2 * distance + threadIdx.x % distance;
      const int other = index + distance;
      if (other < size) {
        const bool isFalling = (index & run) == 0;
        const uint32_t key = shared.keys[index], id = shared.ids[index];
        const uint32_t otherKey = shared.keys[other], otherId = shared.ids[other];
        if (isBefore(otherKey, otherId, key, id) == isFalling) {
          shared.keys[index] = otherKey;
          shared.ids[index] = otherId;
          shared.keys[other] = key;
          shared.ids[other] = id;
        }
      }
      __syncthreads();
    }
  }
}
