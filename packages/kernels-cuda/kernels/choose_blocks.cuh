// choose_blocks.cuh: a thread block chooses the best blocks of one query from the scores of its heads.
//
// Each thread adds up the heads' scores of four blocks at a time, in place, and keeps their maximum. The topK-th largest of the maxima of four threads each
// is a bound that at least topK blocks reach, and mostly few more do: these are ranked among one another. Where too many reach it (ties), the bound is
// bisected until it is exact. Ties go to the lower index.
#pragma once
#include "sequences.cuh"
#include "top_blocks.cuh"

/** Threads of a thread block that chooses. A file may say otherwise before it includes this one. */
#ifdef PHSA_CHOICE_THREADS
constexpr int kChoiceThreads = PHSA_CHOICE_THREADS;
#else
constexpr int kChoiceThreads = 256;
#endif
constexpr int kChoiceWarps = kChoiceThreads / kLanes;
/** Maxima that bound what is chosen, at least 64; a thread block compares each with all by four threads. */
constexpr int kMaxima = kChoiceThreads / 4;
static_assert(kMaxima >= kMostSelected);
/** Blocks that are ranked at once, at least 64. */
constexpr int kMostRanked = 512;
/** Most query heads of a KV head. */
constexpr int kMostHeads = 16;

/** Row of a block's representative among those of all pages, for one KV head. Divisions of 32 bits: they are what choosing waits for. */
PHSA_DEVICE int blockRow(const Sequences& sequences, int sequence, int block, int pageBlocks) {
  const unsigned page = static_cast<unsigned>(block) / static_cast<unsigned>(pageBlocks);
  return sequences.pageTable[static_cast<int64_t>(sequence) * sequences.pagesPerSequence + page] * pageBlocks + (block - static_cast<int>(page) * pageBlocks);
}

struct ChoiceShared {
  float logs[kMostHeads];  // base 2, of the sum over all complete blocks; 0 for the logit score
  float maxima[kMaxima];
  float bound;
  int counted;
  int ranked;
  float scores[kMostRanked];
  int blocks[kMostRanked];
  int chosen[kMostSelected];
};

/** Floats in an order of integers; NaN is none of them. */
PHSA_DEVICE uint32_t orderedBits(float value) {
  const uint32_t bits = __float_as_uint(value);
  return (bits & 0x80000000u) ? ~bits : bits | 0x80000000u;
}
PHSA_DEVICE float fromOrderedBits(uint32_t bits) { return __uint_as_float((bits & 0x80000000u) ? bits & 0x7fffffffu : ~bits); }

/** How many of the maxima are larger than this thread's, the one of its number / 4, or equal and in front of it. */
PHSA_DEVICE int rankOfMaximum(const float* maxima) {
  const int own = threadIdx.x / 4;
  const float value = maxima[own];
  int rank = 0;
#pragma unroll
  for (int i = 0; i < kMaxima / 4; i++) {
    const int other = threadIdx.x % 4 * (kMaxima / 4) + i;
    rank += maxima[other] > value || (maxima[other] == value && other < own);
  }
  rank += __shfl_xor_sync(kWholeWarp, rank, 1);
  return rank + __shfl_xor_sync(kWholeWarp, rank, 2);
}

struct BlockChoice {
  ChoiceShared& shared;
  float* scores;  // [G, capacity] in base 2, aligned to 16 bytes; the first row becomes the sum
  int capacity;
  int group;
  bool softmax;
  BlockRange candidates;
  int topK;  // fewer than the candidates

  /** Calls visit(score, block) for the candidates of this thread. */
  template <typename Visit>
  PHSA_DEVICE void eachOwn(Visit visit) const {
    for (int first = firstOwn(); first < candidates.end; first += 4 * kChoiceThreads) {
      const float4 four = *reinterpret_cast<const float4*>(scores + first);
      const float values[4] = {four.x, four.y, four.z, four.w};
#pragma unroll
      for (int i = 0; i < 4; i++) {
        if (first + i >= candidates.start && first + i < candidates.end) visit(values[i], first + i);
      }
    }
  }

  PHSA_DEVICE int firstOwn() const { return candidates.start / 4 * 4 + 4 * static_cast<int>(threadIdx.x); }

  /** Sums over the heads, and the maximum of this thread's. */
  PHSA_DEVICE float addHeads() const {
    constexpr int kAtOnce = 4;
    float largest = -INFINITY;
    for (int first = firstOwn(); first < candidates.end; first += kAtOnce * 4 * kChoiceThreads) {
      float sums[kAtOnce][4] = {};
#pragma unroll 2
      for (int h = 0; h < group; h++) {
        float4 row[kAtOnce];
#pragma unroll
        for (int n = 0; n < kAtOnce; n++) {
          const int at = first + n * 4 * kChoiceThreads;
          row[n] = at < candidates.end ? *reinterpret_cast<const float4*>(scores + h * static_cast<int64_t>(capacity) + at) : float4{0, 0, 0, 0};
        }
        const float log = shared.logs[h];
#pragma unroll
        for (int n = 0; n < kAtOnce; n++) {
          const float values[4] = {row[n].x, row[n].y, row[n].z, row[n].w};
#pragma unroll
          for (int i = 0; i < 4; i++) sums[n][i] += softmax ? exp2f(values[i] - log) : values[i];
        }
      }
#pragma unroll
      for (int n = 0; n < kAtOnce; n++) {
        const int at = first + n * 4 * kChoiceThreads;
        if (at >= candidates.end) continue;
#pragma unroll
        for (int i = 0; i < 4; i++) {
          sums[n][i] = comparable(sums[n][i]);
          if (at + i >= candidates.start && at + i < candidates.end) largest = fmaxf(largest, sums[n][i]);
        }
        *reinterpret_cast<float4*>(scores + at) = float4{sums[n][0], sums[n][1], sums[n][2], sums[n][3]};
      }
    }
    return largest;
  }

  /** Finds the bound: the topK-th largest of the maxima. */
  PHSA_DEVICE void findBound(float largest) {
    largest = fmaxf(largest, __shfl_xor_sync(kWholeWarp, largest, 8));
    largest = fmaxf(largest, __shfl_xor_sync(kWholeWarp, largest, 16));
    if (laneIndex() < 8) shared.maxima[warpIndex() * 8 + laneIndex()] = largest;
    if (threadIdx.x == 0) shared.ranked = 0;
    __syncthreads();
    const int rank = rankOfMaximum(shared.maxima);
    if (rank == topK - 1) shared.bound = shared.maxima[threadIdx.x / 4];
    __syncthreads();
  }

  PHSA_DEVICE void take(float score, int block) {
    const int place = atomicAdd(&shared.ranked, 1);
    if (place >= kMostRanked) return;
    shared.scores[place] = score;
    shared.blocks[place] = block;
  }

  /** Number of candidates, of all threads, for which `holds(score, block)`. */
  template <typename Holds>
  PHSA_DEVICE int count(Holds holds) {
    __syncthreads();
    if (threadIdx.x == 0) shared.counted = 0;
    __syncthreads();
    int own = 0;
    eachOwn([&](float score, int block) { own += holds(score, block); });
    if (own > 0) atomicAdd(&shared.counted, own);
    __syncthreads();
    return shared.counted;
  }

  /** Takes exactly topK: those above the topK-th largest score, and of the ones equal to it those of the lowest indices. */
  PHSA_DEVICE void takeExactly() {
    uint32_t low = orderedBits(-INFINITY);
    uint32_t high = orderedBits(INFINITY);
    while (low < high) {
      const uint32_t middle = low + (high - low + 1) / 2;
      const float value = fromOrderedBits(middle);
      if (count([&](float score, int) { return score >= value; }) >= topK) {
        low = middle;
      } else {
        high = middle - 1;
      }
    }
    const float least = fromOrderedBits(low);
    const int above = count([&](float score, int) { return score > least; });
    int first = candidates.start;
    int last = candidates.end - 1;
    while (first < last) {
      const int middle = (first + last) / 2;
      if (above + count([&](float score, int block) { return score == least && block <= middle; }) >= topK) {
        last = middle;
      } else {
        first = middle + 1;
      }
    }
    if (threadIdx.x == 0) shared.ranked = 0;
    __syncthreads();
    eachOwn([&](float score, int block) {
      if (score > least || (score == least && block <= last)) take(score, block);
    });
    __syncthreads();
  }

  /** Finds the best topK: places in shared.scores and shared.blocks, the best first. Ends with a barrier. */
  PHSA_DEVICE void rank() {
    const float largest = addHeads();
    findBound(largest);
    if (largest >= shared.bound) {
      eachOwn([&](float score, int block) {
        if (score >= shared.bound) take(score, block);
      });
    }
    __syncthreads();
    if (shared.ranked > kMostRanked) takeExactly();
    const int ranked = shared.ranked;
    // Eight threads compare each with an eighth of the others.
    for (int first = 0; first < ranked; first += kChoiceThreads / 8) {
      const int own = first + threadIdx.x / 8;
      const bool used = own < ranked;
      const float score = used ? shared.scores[own] : 0.0f;
      const int block = used ? shared.blocks[own] : 0;
      int rank = 0;
      for (int other = threadIdx.x % 8; used && other < ranked; other += 8) {
        rank += shared.scores[other] > score || (shared.scores[other] == score && shared.blocks[other] < block);
      }
#pragma unroll
      for (int offset = 1; offset < 8; offset *= 2) rank += __shfl_xor_sync(kWholeWarp, rank, offset);
      if (used && rank < topK) shared.chosen[rank] = own;
    }
    __syncthreads();
  }

  /** Writes the chosen blocks, ascending. @param selected of this query, topK of them. Ends with a barrier. */
  PHSA_DEVICE void run(int* selected) {
    rank();
    if (threadIdx.x < topK) {
      const int block = shared.blocks[shared.chosen[threadIdx.x]];
      int place = 0;
      for (int other = 0; other < topK; other++) place += shared.blocks[shared.chosen[other]] < block;
      selected[place] = block;
    }
    __syncthreads();
  }
};
