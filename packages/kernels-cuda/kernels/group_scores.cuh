// group_scores.cuh: a thread block that scores one query, with all heads of a KV head's group, against many rows: 32 a warp at a time, one a lane,
// 4 heads at once. Shared by block masses and the distillation loss, which need each head's log-sum-exp before anything else.
#pragma once
#include "elements.cuh"
#include "warp.cuh"

/** Most query heads of a KV head. */
constexpr int kMostHeads = 16;
/** Query heads that a lane scores at once. */
constexpr int kHeads = 4;

/**
 * Log-sum-exp of a head's scaled scores in two parts: largest * scale + rest. Taking them off one after the other keeps the digits of a share
 * near 1 where scores are large.
 */
struct HeadLog {
  float largest = 0.0f;  // score, not scaled
  float rest = 0.0f;     // log of the sum of exp((score - largest) * scale)

  /** Log of a score's share in the softmax. */
  PHSA_DEVICE float share(float score, float scale) const { return fmaf(score - largest, scale, -rest); }
};

template <int D>
struct alignas(16) GroupShared {
  float queries[kMostHeads][D];  // zero past the group
  float headLargest[kMostHeads];
  float headRest[kMostHeads];
  float largest[kWarps][kHeads];  // of the warps, before they are merged
  float sums[kWarps][kHeads];

  PHSA_DEVICE HeadLog log(int head) const { return HeadLog{headLargest[head], headRest[head]}; }
};

/** Loads the group's query heads, the first of them row `firstRow` of q [.., D]. Ends with a barrier. */
template <typename T, int D>
PHSA_DEVICE void loadGroup(GroupShared<D>& shared, const void* q, int64_t firstRow, int group) {
  for (int index = threadIdx.x; index < kMostHeads * D; index += kThreads) {
    shared.queries[index / D][index % D] = index / D < group ? toFloat(static_cast<const T*>(q)[firstRow * D + index]) : 0.0f;
  }
  __syncthreads();
}

/**
 * `HeadLog` of each head's scores over `count` rows; `rowAt(index)` is the address of a row [D]. Warps take tiles of 32 in turn and
 * are merged in order. Ends with a barrier.
 */
template <int D, typename RowAt>
PHSA_DEVICE void sumGroup(GroupShared<D>& shared, int group, int count, float scale, RowAt rowAt) {
  for (int firstHead = 0; firstHead < group; firstHead += kHeads) {
    LogSum totals[kHeads];
#pragma unroll
    for (int h = 0; h < kHeads; h++) totals[h].scale = scale;
    for (int index = warpIndex() * kLanes + laneIndex(); index < count; index += kThreads) {
      float scores[kHeads] = {};
      dotRows<D>(rowAt(index), shared.queries[firstHead], scores);
#pragma unroll
      for (int h = 0; h < kHeads; h++) totals[h].add(scores[h]);
    }
#pragma unroll
    for (int h = 0; h < kHeads; h++) {
      totals[h].mergeLanes();
      if (laneIndex() != 0) continue;
      shared.largest[warpIndex()][h] = totals[h].largest;
      shared.sums[warpIndex()][h] = totals[h].sum;
    }
    __syncthreads();
    if (threadIdx.x < kHeads) {
      LogSum total;
      total.scale = scale;
      for (int warp = 0; warp < kWarps; warp++) total.merge(shared.largest[warp][threadIdx.x], shared.sums[warp][threadIdx.x]);
      shared.headLargest[firstHead + threadIdx.x] = total.largest;
      shared.headRest[firstHead + threadIdx.x] = logf(total.sum);
    }
    __syncthreads();
  }
}
