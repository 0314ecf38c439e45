// arrivals.cuh: thread blocks that work on parts of one thing, the last of which to finish puts them together. No order among them is assumed.
#pragma once
#include "platform.cuh"

/**
 * Whether this is the last of `total` thread blocks to come here with this counter, in all its threads: what the others wrote before can then be
 * read, past the L1 cache. The counter is 0 before and after. Ends with a barrier.
 */
PHSA_DEVICE bool arriveLast(int* counter, int total) {
  __shared__ int last;
  __threadfence();
  __syncthreads();
  if (threadIdx.x == 0) {
    last = total == 1 || atomicAdd(counter, 1) == total - 1;
    if (last && total > 1) *counter = 0;
  }
  __syncthreads();
  if (last) __threadfence();
  return last;
}
