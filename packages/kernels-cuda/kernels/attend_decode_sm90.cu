// attend_decode_sm90.cu: attention over a paged cache for few queries (spec 5): what attend_paged.cu does, shared by clusters of thread blocks that
// merge in each other's shared memory. For a step of decoding of few sequences, where the time is that of accesses that wait for one another.
//
// The keys that a query sees in any case are added while the blocks are still being chosen: only append_tokens.cu writes them, and the kernel that chooses
// lets this one begin when that has ended. A query and KV head with many visible keys has several clusters, of which the last one to finish merges the
// others' parts. Bound as there.
#include "arrivals.cuh"
#include "cluster_merge.cuh"
#include "overlap.cuh"
#include "paged_query.cuh"

constexpr int kClusterBlocks = 8;
constexpr int kMostClusters = 8;

template <int D, int N, int C>
struct alignas(16) DecodeShared {
  WarpParts<D, N, kWarps> warps;
  ClusterParts<D, N, C> cluster;
  float weights[kMostClusters][8 * N];
  float2 merged[8 * N];  // of all clusters
};

template <int D, int N, int C>
struct DecodeUnit {
  const AttendPagedParams& params;
  DecodeShared<D, N, C>& shared;
  int64_t unit;      // row * Hkv + kvHead
  int64_t firstRow;  // of out, [.., D]
  int group;

  PHSA_DEVICE float2* valuesOf(int cluster) const {
    return reinterpret_cast<float2*>(params.partials) + (unit * params.splits + cluster) * group * (D / 2);
  }

  PHSA_DEVICE float2* sumsOf(int cluster) const { return reinterpret_cast<float2*>(params.partialSums) + (unit * params.splits + cluster) * group; }

  /** Leaves two values of one cluster of several, and with the first ones its head's sums. */
  PHSA_DEVICE void leave(int cluster, int pair, float2 sum, float2 merged) const {
    valuesOf(cluster)[pair] = sum;
    if (pair % (D / 2) == 0) sumsOf(cluster)[pair / (D / 2)] = merged;
  }

  /** Merges the parts of all clusters. */
  PHSA_DEVICE void mergeClusters(int clusters) const {
    if (threadIdx.x < group) {
      const int head = threadIdx.x;
      const float2 merged = mergeSums<kMostClusters>([&](int part) { return part < clusters ? __ldcg(sumsOf(part) + head) : float2{-INFINITY, 0.0f}; });
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
      putOut<D>(params, firstRow, pair, sum, shared.merged[head]);
    }
  }
};

/** Brings a sequence's page table near, for who reads it later. */
PHSA_DEVICE void touchPages(const Sequences& sequences, const Query& query) {
  constexpr int kLine = 32;
  const int* pages = sequences.pageTable + static_cast<int64_t>(query.sequence) * sequences.pagesPerSequence;
  for (int page = kLine * threadIdx.x; page <= query.position / sequences.pageTokens; page += kLine * kThreads) {
    [[maybe_unused]] int unused;
    asm volatile("ld.global.ca.s32 %0, [%1];" : "=r"(unused) : "l"(pages + page));
  }
}

template <int D, int N, int C>
PHSA_DEVICE void attendDecode(const AttendPagedParams& params) {
  __shared__ DecodeShared<D, N, C> shared;
  const Rules& rules = params.rules;
  const Sequences& sequences = params.sequences;
  const int rank = clusterRank();
  const int part = blockIdx.x / C;
  const int units = sequences.queryTokens * rules.kvHeads;
  const int cluster = part / units;
  const int kvHead = part % units % rules.kvHeads;
  const int row = part % units / rules.kvHeads;
  const int group = rules.heads / rules.kvHeads;
  const int64_t firstRow = static_cast<int64_t>(row) * rules.heads + kvHead * group;
  const DecodeUnit<D, N, C> unit{params, shared, part % units, firstRow, group};
  const Query query = findPagedQuery(sequences, rules, row);
  if (query.sequence < 0) {
    waitForKernelBefore();
    if (cluster > 0 || rank > 0) return;
    for (int pair = threadIdx.x; pair < group * (D / 2); pair += kThreads) putOut<D>(params, firstRow, pair, float2{0.0f, 0.0f}, float2{-INFINITY, 0.0f});
    return;
  }
  const ForcedRuns forced(rules, query);
  const bool chooses = query.position >= query.denseBelow && rules.topK > 0;
  const int most = forced.count + (chooses ? rules.topK * rules.blockSize : 0);
  const int clusters = min(params.splits, (most + C * params.leastKeys - 1) / (C * params.leastKeys));
  if (cluster >= clusters) return;
  using Merge = ClusterMerge<D, N, C, kWarps>;
  Merge::expect(shared.cluster, group);
  arriveAtCluster();
  PagedAttention<D, N, kWarps> attention(params, row, kvHead);
  const int block = cluster * C + rank;
  const int blocks = clusters * C;
  // Keys that lie together: the thread blocks of all heads then read a page at about the same time.
  const auto addShare = [&](int count, auto tokenAt) {
    const int share = ((count + blocks - 1) / blocks + kKeys - 1) / kKeys * kKeys;
    const int end = min(count, (block + 1) * share);
    attention.addRuns(block * share + warpIndex() * kKeys, end, kWarps * kKeys, [&](int index) { return forced.from(sequences, tokenAt(index, end)); });
  };
  if (chooses) touchPages(sequences, query);
  addShare(forced.count, [&](int index, int end) { return forced.tokenAt(index, end); });
  waitForKernelBefore();
  letNextKernelBegin();
  if (chooses) {
    const VisibleRuns visible(params, row, kvHead);
    addShare(visible.chosen() * rules.blockSize, [&](int index, int end) { return visible.chosenToken(rules, index, end); });
  }
  attention.leave(shared.warps);
  const Merge merge(shared.warps, shared.cluster, group);
  merge.give();
  merge.eachMerged([&](int pair, float2 sum, float2 merged) {
    if (clusters == 1) putOut<D>(params, firstRow, pair, sum, merged);
    else unit.leave(cluster, pair, sum, merged);
  });
  if (clusters > 1 && arriveLast(params.arrivals + unit.unit, clusters * C)) unit.mergeClusters(clusters);
}

#define KERNEL(D, N)                                                                                    \
  extern "C" __global__ void __cluster_dims__(kClusterBlocks, 1, 1) __launch_bounds__(kThreads, 4)      \
      attend_decode_sm90_d##D##_n##N(const __grid_constant__ AttendPagedParams params) {                \
    attendDecode<D, N, kClusterBlocks>(params);                                                         \
  }
KERNEL(64, 1)
KERNEL(128, 1)
