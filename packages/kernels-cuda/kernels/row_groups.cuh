// row_groups.cuh: what the kernels share that normalise rows: 8 warps a thread block, which own rows alone or all together.
#pragma once
#include "elements.cuh"
#include "warp.cuh"

constexpr int kRowWarps = 8;
constexpr int kRowThreads = kRowWarps * kLanes;

/** Two sums that are made together. */
struct Sums {
  float first;
  float second;
};

/**
 * Sums over the `kOwners` neighbouring warps that own a row, in every lane of them. More than one need all threads of the block here. `turn` counts the
 * calls, so that nobody overwrites what others still read.
 */
template <int kOwners>
PHSA_DEVICE Sums rowSums(Sums own, int turn) {
  own = {warpSum(own.first), warpSum(own.second)};
  if constexpr (kOwners > 1) {
    __shared__ Sums sums[2][kRowWarps];
    if (laneIndex() == 0) sums[turn % 2][warpIndex()] = own;
    __syncthreads();
    own = {0.0f, 0.0f};
    const int first = warpIndex() / kOwners * kOwners;
#pragma unroll
    for (int warp = 0; warp < kOwners; warp++) {
      own.first += sums[turn % 2][first + warp].first;
      own.second += sums[turn % 2][first + warp].second;
    }
  }
  return own;
}

PHSA_DEVICE float inverseRms(float squares, int width, float epsilon) { return 1.0f / sqrtf(squares / width + epsilon); }
