// decode_step_sm90.cu: a step of decoding (decode_step.cuh) with a cluster of thread blocks a query and KV head: for few sequences, where the time is that
// of accesses that wait for one another.
#include "cluster_merge.cuh"
#include "decode_step.cuh"

template <int D, int C>
struct Cluster {
  static constexpr int kBlocks = C;
  using Shared = ClusterParts<D, 1, C>;
  using Merge = ClusterMerge<D, 1, C, kStepWarps>;

  Shared& shared;
  int group;

  PHSA_DEVICE Cluster(Shared& parts, int heads) : shared(parts), group(heads) {}
  PHSA_DEVICE int rank() const { return clusterRank(); }
  PHSA_DEVICE void begin() const { Merge::expect(shared, group); }
  PHSA_DEVICE void arrive() const { arriveAtClusterAfterReads(); }

  template <typename Put>
  PHSA_DEVICE void merge(const WarpParts<D, 1, kStepWarps>& warps, Put put) const {
    const Merge merge(warps, shared, group);
    merge.give();
    merge.eachMerged(put);
  }
};

#define KERNEL(D, C)                                                                                       \
  extern "C" __global__ void __cluster_dims__(C, 1, 1) __launch_bounds__(kStepThreads, 2)                  \
      attend_step_sm90_d##D##_c##C(const __grid_constant__ DecodeStepParams params) {                      \
    decodeStep<D, Cluster<D, C>>(params);                                                                  \
  }
KERNEL(64, 2)
KERNEL(64, 4)
KERNEL(64, 8)
KERNEL(128, 2)
KERNEL(128, 4)
KERNEL(128, 8)
