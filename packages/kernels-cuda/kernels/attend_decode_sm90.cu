// attend_decode_sm90.cu: attention over a paged cache for few queries (spec 5): what attend_paged.cu does, shared by clusters of thread blocks that
// merge in each other's shared memory. For a step of decoding of few sequences, where the time is that of accesses that wait for one another.
//
// The keys that a query sees in any case are added while the blocks are still being chosen: only append_tokens.cu writes them, and the kernel that chooses
// lets this one begin when that has ended. A query and KV head with many visible keys has several clusters, of which the last one to finish merges the
// others' parts. Bound as there.
#include "arrivals.cuh"
#include "attend_pages.cuh"
#include "cluster.cuh"
#include "overlap.cuh"
#include "paged_query.cuh"

constexpr int kClusterBlocks = 8;
constexpr int kMostClusters = 8;

template <int D, int N, int C>
struct alignas(16) DecodeShared {
  static constexpr int kSlice = 8 * N * D / C / 2;

  WarpParts<D, N, kWarps> warps;
  float2 parts[C][kSlice];                   // pairs of values of this thread block's slice, from all
  float2 sums[C][8 * N];
  float weights[kMostClusters][8 * N];
  float2 merged[8 * N];                      // of the cluster, or of all clusters
  uint64_t given;                            // mbarrier: parts and sums are whole
};

template <int D, int N, int C>
struct DecodeUnit {
  const AttendPagedParams& params;
  DecodeShared<D, N, C>& shared;
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
    for (int index = threadIdx.x; index < C * group; index += kThreads) {
      const int head = index % group;
      sendTo(index / group, &shared.sums[rank][head], merge<kWarps>([&](int warp) { return shared.warps.sums[warp][head]; }), &shared.given);
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
      sendTo(pair / slice, &shared.parts[rank][pair % slice], sum, &shared.given);
    }
    waitForSent(&shared.given);
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
      const float2 merged = merge<C>([&](int part) { return shared.sums[part][head]; });
      float2 sum{0.0f, 0.0f};
#pragma unroll
      for (int part = 0; part < C; part++) {
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

/** What a query sees whatever is chosen: first tokens and local window, or everything. */
struct ForcedRuns {
  int sequence;
  int position;
  int initEnd;
  int localStart;
  int count;

  PHSA_DEVICE ForcedRuns(const Rules& rules, const Query& query) : sequence(query.sequence), position(query.position) {
    const bool dense = position < query.denseBelow;
    initEnd = dense ? 0 : min(rules.initBlocks * rules.blockSize, position + 1);
    localStart = dense ? 0 : candidateBlocks(rules, position, query.denseBelow).end * rules.blockSize;
    count = initEnd + max(0, position + 1 - localStart);
  }

  /** The run that begins with a token; none where that is -1. */
  PHSA_DEVICE Run from(const Sequences& sequences, int first) const {
    if (first < 0 || first > position) return Run{0, 0};
    return Run{static_cast<int>(keyRow(sequences, sequence, first)), min(kRun, position + 1 - first)};
  }

  PHSA_DEVICE int tokenAt(int index, int end) const { return index >= end ? -1 : index < initEnd ? index : localStart + index - initEnd; }
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
  const int slice = group * (D / 2) / C;
  const DecodeUnit<D, N, C> unit{params, shared, part % units, firstRow, group, rank, slice};
  const Query query = findPagedQuery(sequences, rules, row);
  if (query.sequence < 0) {
    waitForKernelBefore();
    if (cluster > 0 || rank > 0) return;
    for (int pair = threadIdx.x; pair < group * (D / 2); pair += kThreads) unit.putOut(pair, float2{0.0f, 0.0f}, float2{-INFINITY, 0.0f});
    return;
  }
  const ForcedRuns forced(rules, query);
  const bool chooses = query.position >= query.denseBelow && rules.topK > 0;
  const int most = forced.count + (chooses ? rules.topK * rules.blockSize : 0);
  const int clusters = min(params.splits, (most + C * params.leastKeys - 1) / (C * params.leastKeys));
  if (cluster >= clusters) return;
  if (threadIdx.x == 0) {
    initBarrier(sharedAddress(&shared.given), 1);
    fenceBarrierInit();
    expectBytes(sharedAddress(&shared.given), C * (slice + group) * sizeof(float2));
  }
  __syncwarp();
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
  unit.giveSlices();
  unit.mergeSlice(cluster, clusters);
  if (clusters > 1 && arriveLast(params.arrivals + unit.unit, clusters * C)) unit.mergeClusters(clusters);
}

#define KERNEL(D, N)                                                                                    \
  extern "C" __global__ void __cluster_dims__(kClusterBlocks, 1, 1) __launch_bounds__(kThreads, 4)      \
      attend_decode_sm90_d##D##_n##N(const __grid_constant__ AttendPagedParams params) {                \
    attendDecode<D, N, kClusterBlocks>(params);                                                         \
  }
KERNEL(64, 1)
KERNEL(128, 1)
