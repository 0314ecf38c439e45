// attend_decode_sm90.cu: attention over a paged cache for few queries (spec 5): what attend_paged.cu does, shared by clusters of eight thread blocks that
// merge in each other's shared memory. For a step of decoding of few sequences, where the time is that of accesses that wait for one another.
//
// A query and KV head with many visible keys has several clusters, of which the last one to finish merges the others' parts. Bound as there.
#include "arrivals.cuh"
#include "attend_pages.cuh"
#include "cluster.cuh"
#include "overlap.cuh"

constexpr int kClusterBlocks = 8;
constexpr int kMostClusters = 8;

template <int D, int N>
struct alignas(16) DecodeShared {
  static constexpr int kSlice = 8 * N * D / kClusterBlocks / 2;

  WarpParts<D, N, kWarps> warps;
  float2 parts[kClusterBlocks][kSlice];      // pairs of values of this thread block's slice, from all
  float2 sums[kClusterBlocks][8 * N];
  float weights[kMostClusters][8 * N];
  float2 merged[8 * N];                      // of the cluster, or of all clusters
};

template <int D, int N>
struct DecodeUnit {
  const AttendPagedParams& params;
  DecodeShared<D, N>& shared;
  int64_t unit;      // row * Hkv + kvHead
  int64_t firstRow;  // of out, [.., D]
  int group;
  int rank;
  int slice;  // pairs of values of each thread block

  PHSA_DEVICE float2* valuesOf(int cluster) const {
    return reinterpret_cast<float2*>(params.partials) + (unit * params.splits + cluster) * group * (D / 2);
  }

  PHSA_DEVICE float2* sumsOf(int cluster) const { return reinterpret_cast<float2*>(params.partialSums) + (unit * params.splits + cluster) * group; }

  /** Largest score and sum above it of `Count` parts. */
  template <int Count, typename SumOf>
  PHSA_DEVICE static float2 merge(SumOf sumOf) {
    float2 sums[Count];
    float largest = -INFINITY;
#pragma unroll
    for (int part = 0; part < Count; part++) {
      sums[part] = sumOf(part);
      largest = fmaxf(largest, sums[part].x);
    }
    float total = 0.0f;
#pragma unroll
    for (int part = 0; part < Count; part++) total += sums[part].y * shiftedExp2(sums[part].x, largest);
    return float2{largest, total};
  }

  /** Merges the warps and gives each thread block of the cluster its slice. */
  PHSA_DEVICE void giveSlices() const {
    __syncthreads();
    waitForCluster();
    for (int index = threadIdx.x; index < kClusterBlocks * group; index += kThreads) {
      const int head = index % group;
      storeIn(index / group, &shared.sums[rank][head], merge<kWarps>([&](int warp) { return shared.warps.sums[warp][head]; }));
    }
    for (int pair = threadIdx.x; pair < group * (D / 2); pair += kThreads) {
      const int head = pair / (D / 2);
      float largest = -INFINITY;
#pragma unroll
      for (int warp = 0; warp < kWarps; warp++) largest = fmaxf(largest, shared.warps.sums[warp][head].x);
      float2 sum{0.0f, 0.0f};
#pragma unroll
      for (int warp = 0; warp < kWarps; warp++) {
        const float weight = shiftedExp2(shared.warps.sums[warp][head].x, largest);
        const float2 value = *reinterpret_cast<const float2*>(&shared.warps.values[warp][head][pair % (D / 2) * 2]);
        sum.x = fmaf(weight, value.x, sum.x);
        sum.y = fmaf(weight, value.y, sum.y);
      }
      storeIn(pair / slice, &shared.parts[rank][pair % slice], sum);
    }
    syncCluster();
  }

  PHSA_DEVICE void putOut(int pair, float2 sum, float2 merged) const {
    const float share = merged.y > 0.0f ? 1.0f / merged.y : 0.0f;
    reinterpret_cast<uint32_t*>(params.out)[firstRow * (D / 2) + pair] = roundToBf16(sum.x * share, sum.y * share);
    if (pair % (D / 2) == 0) params.lse[firstRow + pair / (D / 2)] = merged.y == 0.0f ? -INFINITY : (merged.x + log2f(merged.y)) * 0.693147181f;
  }

  /** Adds up this thread block's slice: the result, or a part of it. */
  PHSA_DEVICE void mergeSlice(int cluster, int clusters) const {
    for (int index = threadIdx.x; index < slice; index += kThreads) {
      const int pair = rank * slice + index;
      if (pair >= group * (D / 2)) break;
      const int head = pair / (D / 2);
      const float2 merged = merge<kClusterBlocks>([&](int part) { return shared.sums[part][head]; });
      float2 sum{0.0f, 0.0f};
#pragma unroll
      for (int part = 0; part < kClusterBlocks; part++) {
        const float weight = shiftedExp2(shared.sums[part][head].x, merged.x);
        sum.x = fmaf(weight, shared.parts[part][index].x, sum.x);
        sum.y = fmaf(weight, shared.parts[part][index].y, sum.y);
      }
      if (clusters == 1) {
        putOut(pair, sum, merged);
      } else {
        valuesOf(cluster)[pair] = sum;
        if (pair % (D / 2) == 0) sumsOf(cluster)[head] = merged;
      }
    }
  }

  /** Merges the parts of all clusters. */
  PHSA_DEVICE void mergeClusters(int clusters) const {
    if (threadIdx.x < group) {
      const int head = threadIdx.x;
      const float2 merged = merge<kMostClusters>([&](int part) { return part < clusters ? __ldcg(sumsOf(part) + head) : float2{-INFINITY, 0.0f}; });
      shared.merged[head] = merged;
      for (int part = 0; part < clusters; part++) shared.weights[part][head] = shiftedExp2(__ldcg(sumsOf(part) + head).x, merged.x);
    }
    __syncthreads();
    for (int pair = threadIdx.x; pair < group * (D / 2); pair += kThreads) {
      const int head = pair / (D / 2);
      float2 sum{0.0f, 0.0f};
#pragma unroll 4
      for (int part = 0; part < clusters; part++) {
        const float2 value = __ldcg(valuesOf(part) + pair);
        sum.x = fmaf(shared.weights[part][head], value.x, sum.x);
        sum.y = fmaf(shared.weights[part][head], value.y, sum.y);
      }
      putOut(pair, sum, shared.merged[head]);
    }
  }
};

template <int D, int N>
PHSA_DEVICE void attendDecode(const AttendPagedParams& params) {
  __shared__ DecodeShared<D, N> shared;
  const Rules& rules = params.rules;
  const int rank = clusterRank();
  const int part = blockIdx.x / kClusterBlocks;
  const int kvHead = part % rules.kvHeads;
  const int cluster = part / rules.kvHeads % params.splits;
  const int row = part / rules.kvHeads / params.splits;
  const int group = rules.heads / rules.kvHeads;
  const int64_t firstRow = static_cast<int64_t>(row) * rules.heads + kvHead * group;
  const int slice = (group * (D / 2) + kClusterBlocks - 1) / kClusterBlocks;
  const DecodeUnit<D, N> unit{params, shared, static_cast<int64_t>(row) * rules.kvHeads + kvHead, firstRow, group, rank, slice};
  const Query query = findQuery(params.sequences, rules, row);
  PagedAttention<D, N, kWarps> attention(params, row, kvHead);
  // Only the choice is younger.
  waitForKernelBefore();
  letNextKernelBegin();
  VisibleRuns visible(params, row, kvHead);
  if (query.sequence < 0) {
    if (cluster > 0 || rank > 0) return;
    for (int pair = threadIdx.x; pair < group * (D / 2); pair += kThreads) unit.putOut(pair, float2{0.0f, 0.0f}, float2{-INFINITY, 0.0f});
    return;
  }
  visible.find(rules, query);
  constexpr int kStep = kWarps * kKeys;
  const int blocks = params.splits * kClusterBlocks;
  const int share = ((visible.count + blocks - 1) / blocks + kStep - 1) / kStep * kStep;
  const int keys = max(params.leastKeys, share);
  const int clusters = (visible.count + keys * kClusterBlocks - 1) / (keys * kClusterBlocks);
  if (cluster >= clusters) return;
  arriveAtCluster();
  const int first = (cluster * kClusterBlocks + rank) * keys;
  attention.addAll(visible, first, min(visible.count, first + keys));
  attention.leave(shared.warps);
  unit.giveSlices();
  unit.mergeSlice(cluster, clusters);
  if (clusters > 1 && arriveLast(params.arrivals + unit.unit, clusters * kClusterBlocks)) unit.mergeClusters(clusters);
}

#define KERNEL(D, N)                                                                                          \
  extern "C" __global__ void __cluster_dims__(kClusterBlocks, 1, 1) __launch_bounds__(kThreads, 4)            \
      attend_decode_sm90_d##D##_n##N(const __grid_constant__ AttendPagedParams params) {                      \
    attendDecode<D, N>(params);                                                                               \
  }
KERNEL(64, 1)
KERNEL(128, 1)
