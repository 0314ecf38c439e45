// warp.cuh: reductions over the 32 lanes of a warp, the same in every lane and in the same order each time, and running softmax sums.
#pragma once
#include "platform.cuh"

constexpr unsigned kWholeWarp = 0xffffffffu;
constexpr int kLanes = 32;
/** Warps of the blocks that give each warp work of its own. */
constexpr int kWarps = 4;
constexpr int kThreads = kWarps * kLanes;

PHSA_DEVICE int laneIndex() { return threadIdx.x % kLanes; }

PHSA_DEVICE int warpIndex() { return threadIdx.x / kLanes; }

PHSA_DEVICE float warpMax(float value) {
#pragma unroll
  for (int offset = 16; offset > 0; offset /= 2) value = fmaxf(value, __shfl_xor_sync(kWholeWarp, value, offset));
  return value;
}

PHSA_DEVICE float warpSum(float value) {
#pragma unroll
  for (int offset = 16; offset > 0; offset /= 2) value += __shfl_xor_sync(kWholeWarp, value, offset);
  return value;
}

/** exp((value - largest) * scale), 0 for -infinity also where everything is -infinity. */
PHSA_DEVICE float shiftedExp(float value, float largest, float scale = 1.0f) {
  return value == -INFINITY ? 0.0f : expf((value - largest) * scale);
}

/** Sum of the exponentials of scaled values: exp(largest * scale) * sum; -infinity and 0 for none. */
struct LogSum {
  float largest = -INFINITY;
  float sum = 0.0f;
  float scale = 1.0f;

  PHSA_DEVICE void add(float value) { merge(value, 1.0f); }

  PHSA_DEVICE void merge(float otherLargest, float otherSum) {
    const float both = fmaxf(largest, otherLargest);
    if (both == -INFINITY) return;
    sum = fmaf(sum, shiftedExp(largest, both, scale), otherSum * shiftedExp(otherLargest, both, scale));
    largest = both;
  }

  /** Of all lanes together, in every lane. */
  PHSA_DEVICE void mergeLanes() {
    const float both = warpMax(largest);
    sum = warpSum(sum * shiftedExp(largest, both, scale));
    largest = both;
  }

  PHSA_DEVICE float log() const { return largest == -INFINITY ? -INFINITY : fmaf(largest, scale, logf(sum)); }
};
