// attend_paged.cu: attention over forced and selected blocks of a paged cache (spec 5), or over all of it, for any number of queries a sequence.
//
// A unit is a query and a KV head with the heads of its group, up to 8 N columns. Thread blocks share the visible keys of a unit, so many that
// a single query fills the GPU, and the last one to finish merges what the others left. A warp takes 16 keys at a time: two runs of eight that lie together
// in a page. Keys and values go from their pages straight into the registers of the products, each read once. The grid follows from capacities.
// Numerics: bf16 operands, probabilities too; scores, sums and softmax in f32, base 2. Bound: bytes of the visible keys and values, 4 D a key and KV head.
#include "arrivals.cuh"
#include "attend_pages.cuh"
#include "overlap.cuh"

constexpr int kMostSplits = 64;

template <int D, int N>
struct alignas(16) PagedShared {
  WarpParts<D, N, kWarps> warps;
  float weights[8 * N][kMostSplits];
  float totals[8 * N];
  float largest[8 * N];
};

/** One unit's heads and its place in out and lse, and where its parts lie. */
template <int D, int N>
struct PagedUnit {
  const AttendPagedParams& params;
  PagedShared<D, N>& shared;
  int64_t unit;      // row * Hkv + kvHead
  int64_t firstRow;  // of out, [.., D]
  int group;

  PHSA_DEVICE float* valuesOf(int split) const { return params.partials + (unit * params.splits + split) * group * D; }

  PHSA_DEVICE float2* sumsOf(int split) const { return reinterpret_cast<float2*>(params.partialSums) + (unit * params.splits + split) * group; }

  /** Weights of `count` parts, of which `sumOf(part, head)` are the sums; lse where this is all. Ends with a barrier. */
  template <typename SumOf>
  PHSA_DEVICE void weigh(int count, SumOf sumOf) const {
    for (int head = warpIndex(); head < group; head += kWarps) {
      float2 sums[2];
#pragma unroll
      for (int half = 0; half < 2; half++) {
        const int part = laneIndex() + half * kLanes;
        sums[half] = part < count ? sumOf(part, head) : float2{-INFINITY, 0.0f};
      }
      const float largest = warpMax(fmaxf(sums[0].x, sums[1].x));
      float total = 0.0f;
#pragma unroll
      for (int half = 0; half < 2; half++) {
        const int part = laneIndex() + half * kLanes;
        const float weight = shiftedExp2(sums[half].x, largest);
        total += weight * sums[half].y;
        if (part < count) shared.weights[head][part] = weight;
      }
      total = warpSum(total);
      if (laneIndex() > 0) continue;
      shared.totals[head] = total;
      shared.largest[head] = largest;
    }
    __syncthreads();
  }

  /** Calls put(index, two sums) for each two dimensions of each head, `valueOf(part, index)` being the parts'. */
  template <typename ValueOf, typename Put>
  PHSA_DEVICE void addParts(int count, ValueOf valueOf, Put put) const {
    for (int index = 2 * threadIdx.x; index < group * D; index += 2 * kThreads) {
      const float* weights = shared.weights[index / D];
      float2 sum{0.0f, 0.0f};
#pragma unroll 8
      for (int part = 0; part < count; part++) {
        const float2 value = valueOf(part, index);
        sum.x = fmaf(weights[part], value.x, sum.x);
        sum.y = fmaf(weights[part], value.y, sum.y);
      }
      put(index, sum);
    }
  }

  PHSA_DEVICE void putOut(int index, float2 sum) const {
    const float total = shared.totals[index / D];
    const float share = total > 0.0f ? 1.0f / total : 0.0f;
    reinterpret_cast<uint32_t*>(params.out)[(firstRow * D + index) / 2] = roundToBf16(sum.x * share, sum.y * share);
    if (index % D == 0) {
      params.lse[firstRow + index / D] = total == 0.0f ? -INFINITY : (shared.largest[index / D] + log2f(total)) * 0.693147181f;
    }
  }

  /** Merges the warps; writes the result, or this part. */
  PHSA_DEVICE void mergeWarps(int split, int parts) const {
    weigh(kWarps, [&](int warp, int head) { return shared.warps.sums[warp][head]; });
    const auto valueOf = [&](int warp, int index) { return *reinterpret_cast<const float2*>(&shared.warps.values[warp][index / D][index % D]); };
    if (parts == 1) {
      addParts(kWarps, valueOf, [&](int index, float2 sum) { putOut(index, sum); });
      return;
    }
    addParts(kWarps, valueOf, [&](int index, float2 sum) { *reinterpret_cast<float2*>(valuesOf(split) + index) = sum; });
    if (threadIdx.x < group) sumsOf(split)[threadIdx.x] = float2{shared.largest[threadIdx.x], shared.totals[threadIdx.x]};
  }

  /** Merges the parts of all thread blocks. */
  PHSA_DEVICE void mergeParts(int parts) const {
    weigh(parts, [&](int part, int head) { return __ldcg(sumsOf(part) + head); });
    addParts(
        parts, [&](int part, int index) { return __ldcg(reinterpret_cast<const float2*>(valuesOf(part) + index)); },
        [&](int index, float2 sum) { putOut(index, sum); });
  }
};

template <int D, int N>
PHSA_DEVICE void attendPaged(const AttendPagedParams& params) {
  __shared__ PagedShared<D, N> shared;
  const Rules& rules = params.rules;
  const int kvHead = blockIdx.x % rules.kvHeads;
  const int split = blockIdx.x / rules.kvHeads % params.splits;
  const int row = blockIdx.x / rules.kvHeads / params.splits;
  const int group = rules.heads / rules.kvHeads;
  const int64_t firstRow = static_cast<int64_t>(row) * rules.heads + kvHead * group;
  const PagedUnit<D, N> unit{params, shared, static_cast<int64_t>(row) * rules.kvHeads + kvHead, firstRow, group};
  const Query query = findQuery(params.sequences, rules, row);
  // Only the choice is younger.
  waitForKernelBefore();
  letNextKernelBegin();
  VisibleRuns visible(params, row, kvHead);
  if (query.sequence < 0) {
    if (split > 0) return;
    for (int head = threadIdx.x; head < group; head += kThreads) {
      shared.totals[head] = 0.0f;
      shared.largest[head] = -INFINITY;
    }
    __syncthreads();
    unit.addParts(0, [](int, int) { return float2{0.0f, 0.0f}; }, [&](int index, float2 sum) { unit.putOut(index, sum); });
    return;
  }
  visible.find(rules, query);
  constexpr int kStep = kWarps * kKeys;
  const int share = ((visible.count + params.splits - 1) / params.splits + kStep - 1) / kStep * kStep;
  const int keys = max(params.leastKeys, share);
  const int parts = (visible.count + keys - 1) / keys;
  if (split >= parts) return;
  PagedAttention<D, N, kWarps> attention(params, row, kvHead);
  attention.addAll(visible, split * keys, min(visible.count, (split + 1) * keys));
  attention.leave(shared.warps);
  __syncthreads();
  unit.mergeWarps(split, parts);
  if (parts > 1 && arriveLast(params.arrivals + unit.unit, parts)) unit.mergeParts(parts);
}

#define INSTANCE(D)                                                                                  \
  PHSA_KERNEL_AT_ONCE(attend_paged_d##D##_n1, AttendPagedParams, kThreads, 4, attendPaged<D, 1>)     \
  PHSA_KERNEL(attend_paged_d##D##_n2, AttendPagedParams, kThreads, attendPaged<D, 2>)
INSTANCE(32)
INSTANCE(64)
INSTANCE(128)
