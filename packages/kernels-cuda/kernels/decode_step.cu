// decode_step.cu: a step of decoding (decode_step.cuh) with one thread block a query and KV head: for many sequences, and for GPUs without clusters.
#include "decode_step.cuh"

template <int D>
struct Alone {
  static constexpr int kBlocks = 1;
  struct Shared {};

  int group;

  PHSA_DEVICE Alone(Shared&, int heads) : group(heads) {}
  PHSA_DEVICE int rank() const { return 0; }
  PHSA_DEVICE void begin() const {}
  PHSA_DEVICE void arrive() const {}

  template <typename Put>
  PHSA_DEVICE void merge(const WarpParts<D, 1, kStepWarps>& warps, Put put) const {
    __syncthreads();
    for (int pair = threadIdx.x; pair < group * (D / 2); pair += kStepThreads) put(pair, warps.mergedValues(pair), warps.mergedSums(pair / (D / 2)));
  }
};

#define INSTANCE(D) PHSA_KERNEL_AT_ONCE(attend_step_d##D, DecodeStepParams, kStepThreads, 2, decodeStep<D, Alone<D>>)
INSTANCE(32)
INSTANCE(64)
INSTANCE(128)
