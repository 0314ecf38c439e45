// cluster_merge.cuh: results of attention that thread blocks of a cluster merge in each other's shared memory (compute capability 9.0). Only *_sm90.cu
// include it.
#pragma once
#include "attend_pages.cuh"
#include "cluster.cuh"

/** What each thread block of a cluster gets: a slice of the values of all, and their sums. */
template <int D, int N, int C>
struct alignas(16) ClusterParts {
  static constexpr int kSlice = 8 * N * D / C / 2;

  float2 parts[C][kSlice];  // pairs of values of this thread block's slice, from all
  float2 sums[C][8 * N];
  uint64_t given;           // mbarrier: parts and sums are whole
};

template <int D, int N, int C, int Warps>
struct ClusterMerge {
  static constexpr int kOwnThreads = Warps * kLanes;

  const WarpParts<D, N, Warps>& warps;
  ClusterParts<D, N, C>& shared;
  int group;
  int rank;
  int slice;  // pairs of values of each thread block

  PHSA_DEVICE ClusterMerge(const WarpParts<D, N, Warps>& own, ClusterParts<D, N, C>& parts, int heads)
      : warps(own), shared(parts), group(heads), rank(clusterRank()), slice(heads * (D / 2) / C) {}

  /** Before the barrier of the cluster that `give` waits for: arriveAtCluster. */
  PHSA_DEVICE static void expect(ClusterParts<D, N, C>& shared, int group) {
    if (threadIdx.x == 0) {
      initBarrier(sharedAddress(&shared.given), 1);
      fenceBarrierInit();
      expectBytes(sharedAddress(&shared.given), (group * (D / 2) + C * group) * sizeof(float2));
    }
    __syncwarp();
  }

  /** Merges the warps, gives each thread block of the cluster its slice and waits for this one's. */
  PHSA_DEVICE void give() const {
    __syncthreads();
    waitForCluster();
    for (int index = threadIdx.x; index < C * group; index += kOwnThreads) {
      const int head = index % group;
      sendTo(index / group, &shared.sums[rank][head], warps.mergedSums(head), &shared.given);
    }
    for (int pair = threadIdx.x; pair < group * (D / 2); pair += kOwnThreads) {
      sendTo(pair / slice, &shared.parts[rank][pair % slice], warps.mergedValues(pair), &shared.given);
    }
    waitForSent(&shared.given);
  }

  /** Calls put(pair, values, largest score and sum above it) for this thread block's slice. */
  template <typename Put>
  PHSA_DEVICE void eachMerged(Put put) const {
    for (int index = threadIdx.x; index < slice; index += kOwnThreads) {
      const int pair = rank * slice + index;
      const int head = pair / (D / 2);
      const float2 merged = mergeSums<C>([&](int part) { return shared.sums[part][head]; });
      float2 sum{0.0f, 0.0f};
#pragma unroll
      for (int part = 0; part < C; part++) {
        const float weight = shiftedExp2(shared.sums[part][head].x, merged.x);
        sum.x = fmaf(weight, shared.parts[part][index].x, sum.x);
        sum.y = fmaf(weight, shared.parts[part][index].y, sum.y);
      }
      put(pair, sum, merged);
    }
  }
};
