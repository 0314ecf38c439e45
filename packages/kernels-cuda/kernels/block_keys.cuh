// block_keys.cuh: blocks with their scores in one number, so that ranking them is comparing, and the rank of a maximum among all threads'.
#pragma once
#include "choose_blocks.cuh"

/** Larger for the better block: of equal scores, and 0 and -0 are equal, the lower one. 0 is less than any. */
PHSA_DEVICE uint64_t keyOf(float score, int block) {
  return static_cast<uint64_t>(orderedBits(score + 0.0f)) << 32 | (0xffffffffu - static_cast<uint32_t>(block));
}
PHSA_DEVICE int blockOf(uint64_t key) { return static_cast<int>(0xffffffffu - static_cast<uint32_t>(key)); }

/** How many of the maxima are larger than this thread's, the one of its number / 4, or equal and in front of it. */
PHSA_DEVICE int placeOfMaximum(const float* maxima) {
  const int own = threadIdx.x / 4;
  const float value = maxima[own];
  int place = 0;
#pragma unroll
  for (int i = 0; i < kMaxima / 16; i++) {
    const int first = 16 * i + threadIdx.x % 4 * 4;
    const float4 four = *reinterpret_cast<const float4*>(maxima + first);
    const float values[4] = {four.x, four.y, four.z, four.w};
#pragma unroll
    for (int j = 0; j < 4; j++) place += values[j] > value || (values[j] == value && first + j < own);
  }
  place += __shfl_xor_sync(kWholeWarp, place, 1);
  return place + __shfl_xor_sync(kWholeWarp, place, 2);
}
