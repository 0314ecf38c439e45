// attend_pages.cuh: attention of one query's heads, of one KV head, over keys and values in pages: what a warp does. Up to 8 N heads are the columns of products.
//
// A warp takes 16 keys at a time: two runs of eight that lie together in a page. Keys and values go from there straight into the registers of the
// products, each read once. Numerics: bf16 operands, probabilities too; scores, sums and softmax in f32, base 2.
#pragma once
#include "elements.cuh"
#include "fetched_keys.cuh"
#include "products.cuh"
#include "sequences.cuh"
#include "warp.cuh"

struct AttendPagedParams {
  const void* q;        // bf16 [Tq, Hq, D]
  const void* k;        // bf16 pages [slots, Hkv, D]
  const void* v;
  const int* selected;  // [Hkv, Tq, topK]
  void* out;            // bf16 [Tq, Hq, D]
  float* lse;           // [Tq, Hq]
  float* partials;      // [Tq, Hkv, splits, G, D]: sums of values, not divided
  float* partialSums;   // [Tq, Hkv, splits, G, 2]: largest score in base 2, sum of exponentials above it
  int* arrivals;        // [Tq, Hkv], 0
  Sequences sequences;
  Rules rules;
  int splits;     // thread blocks of a unit, at most 64
  int leastKeys;  // that a thread block takes, a multiple of 64
};

/** Keys of a product. */
constexpr int kKeys = 16;

/** 0 for -infinity also where everything is. */
PHSA_DEVICE float shiftedExp2(float value, float largest) { return value == -INFINITY ? 0.0f : exp2f(value - largest); }

/** What a query sees, by a warp: `VisibleKeys` with the selected blocks in registers. */
struct VisibleRuns {
  int blocks[2];  // selected, slot lane and lane + 32
  int sequence;
  int position;
  int initEnd;
  int selectedEnd;
  int localStart;
  int count;

  /** Loads the choice of a row of q, which need not belong to a sequence: first of all, because everything waits for it. */
  PHSA_DEVICE VisibleRuns(const AttendPagedParams& params, int row, int kvHead) {
    const Rules& rules = params.rules;
    const int* selected = params.selected + (static_cast<int64_t>(kvHead) * params.sequences.queryTokens + row) * rules.topK;
#pragma unroll
    for (int half = 0; half < 2; half++) {
      const int slot = laneIndex() + half * kLanes;
      blocks[half] = slot < rules.topK ? selected[slot] : -1;
    }
  }

  PHSA_DEVICE void find(const Rules& rules, const Query& query) {
    sequence = query.sequence;
    position = query.position;
    const int end = position + 1;
    const bool dense = position < query.denseBelow;
    initEnd = dense ? 0 : min(rules.initBlocks * rules.blockSize, end);
    selectedEnd = initEnd + (dense ? 0 : chosen()) * rules.blockSize;
    localStart = dense ? 0 : candidateBlocks(rules, position, query.denseBelow).end * rules.blockSize;
    count = selectedEnd + max(0, end - localStart);
  }

  /** Selected blocks. */
  PHSA_DEVICE int chosen() const {
    return __popc(__ballot_sync(kWholeWarp, blocks[0] >= 0)) + __popc(__ballot_sync(kWholeWarp, blocks[1] >= 0));
  }

  /** Token at each lane's index among those of the selected blocks; -1 from `count` on. */
  PHSA_DEVICE int chosenToken(const Rules& rules, int index, int count) const {
    const int slot = index / rules.blockSize;
    const int low = __shfl_sync(kWholeWarp, blocks[0], slot % kLanes);
    const int high = __shfl_sync(kWholeWarp, blocks[1], slot % kLanes);
    return index < count ? (slot < kLanes ? low : high) * rules.blockSize + index % rules.blockSize : -1;
  }

  /** The run at each lane's index, a multiple of 8; none from `end` on. */
  PHSA_DEVICE Run at(const Sequences& sequences, const Rules& rules, int index, int end) const {
    const int slot = (index - initEnd) / rules.blockSize;
    const int low = __shfl_sync(kWholeWarp, blocks[0], slot % kLanes);
    const int high = __shfl_sync(kWholeWarp, blocks[1], slot % kLanes);
    int first = index;
    if (index >= selectedEnd) {
      first = localStart + index - selectedEnd;
    } else if (index >= initEnd) {
      first = (slot < kLanes ? low : high) * rules.blockSize + (index - initEnd) % rules.blockSize;
    }
    Run run{0, 0};
    if (index < end && first <= position) {
      run.row = static_cast<int>(keyRow(sequences, sequence, first));
      run.valid = min(kRun, position + 1 - first);
    }
    return run;
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

/** Largest score and sum above it of `Count` parts. */
template <int Count, typename SumOf>
PHSA_DEVICE float2 mergeSums(SumOf sumOf) {
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

/** What the warps of a thread block leave for it to merge. @tparam Heads room for so many */
template <int D, int N, int Warps, int Heads = 8 * N>
struct alignas(16) WarpParts {
  float values[Warps][Heads][D];  // sums of values, not divided
  float2 sums[Warps][Heads];      // largest score in base 2, sum of exponentials above it

  /** Of all warps, for a head. */
  PHSA_DEVICE float2 mergedSums(int head) const {
    return mergeSums<Warps>([&](int warp) { return sums[warp][head]; });
  }

  /** Two neighbouring dimensions of a head, of all warps, above the largest score of all. @param pair head x D / 2 + dimension / 2 */
  PHSA_DEVICE float2 mergedValues(int pair) const {
    const int head = pair / (D / 2);
    float largest = -INFINITY;
#pragma unroll
    for (int warp = 0; warp < Warps; warp++) largest = fmaxf(largest, sums[warp][head].x);
    float2 sum{0.0f, 0.0f};
#pragma unroll
    for (int warp = 0; warp < Warps; warp++) {
      const float weight = shiftedExp2(sums[warp][head].x, largest);
      const float2 value = *reinterpret_cast<const float2*>(&values[warp][head][pair % (D / 2) * 2]);
      sum.x = fmaf(weight, value.x, sum.x);
      sum.y = fmaf(weight, value.y, sum.y);
    }
    return sum;
  }
};

/** Writes two dimensions of a row of out, [.., D], and with the first ones its lse. @param pair of the rows from `firstRow` on, see mergedValues */
template <int D>
PHSA_DEVICE void putOut(const AttendPagedParams& params, int64_t firstRow, int pair, float2 sum, float2 merged) {
  const float share = merged.y > 0.0f ? 1.0f / merged.y : 0.0f;
  reinterpret_cast<uint32_t*>(params.out)[firstRow * (D / 2) + pair] = roundToBf16(sum.x * share, sum.y * share);
  if (pair % (D / 2) == 0) params.lse[firstRow + pair / (D / 2)] = merged.y == 0.0f ? -INFINITY : (merged.x + log2f(merged.y)) * 0.693147181f;
}

/** A warp of `Warps` that share the keys of a thread block. */
template <int D, int N, int Warps>
struct PagedAttention {
  static constexpr int kWords = FetchedKeys<D>::kWords;

  const AttendPagedParams& params;
  int kvHead;
  int group;
  uint32_t queries[N][D / 8];
  float values[N][D / 16][4];
  float largest[N][2];
  float totals[N][2];

  PHSA_DEVICE PagedAttention(const AttendPagedParams& given, int row, int head)
      : params(given), kvHead(head), group(given.rules.heads / given.rules.kvHeads) {
    takeQueries([&](int column) {
      const int64_t queryHead = static_cast<int64_t>(row) * params.rules.heads + kvHead * group + column;
      return static_cast<const bf16*>(params.q) + queryHead * D;
    });
  }

  /** @param groupQueries of the KV head's query heads, [group, D] */
  PHSA_DEVICE PagedAttention(const AttendPagedParams& given, int head, const bf16* groupQueries)
      : params(given), kvHead(head), group(given.rules.heads / given.rules.kvHeads) {
    takeQueries([&](int column) { return groupQueries + column * D; });
  }

  /** @param queryOf where the queries of a head of the group are */
  template <typename QueryOf>
  PHSA_DEVICE void takeQueries(QueryOf queryOf) {
#pragma unroll
    for (int n = 0; n < N; n++) {
      const int column = 8 * n + laneIndex() / 4;
      const uint4* source = reinterpret_cast<const uint4*>(queryOf(column)) + laneIndex() % 4;
#pragma unroll
      for (int j = 0; j < D / 32; j++) {
        const uint4 eight = column < group ? source[4 * j] : uint4{0, 0, 0, 0};
        queries[n][4 * j] = eight.x;
        queries[n][4 * j + 1] = eight.y;
        queries[n][4 * j + 2] = eight.z;
        queries[n][4 * j + 3] = eight.w;
      }
    }
    forget();
  }

  /** The dimension of a tile's rows: this lane's first row, or the one eight further. */
  PHSA_DEVICE static int dimension(int tile, int half) {
    const int g = laneIndex() / 4;
    return D == 128 ? 64 * half + 8 * g + tile : D / 8 * g + D / 16 * half + tile;
  }

  /** Adds two runs of the keys in pages, or of others [.., Hkv, D]. */
  PHSA_DEVICE void add(const Run (&runs)[2]) { add(runs, static_cast<const bf16*>(params.k), static_cast<const bf16*>(params.v)); }
  PHSA_DEVICE void add(const Run (&runs)[2], const bf16* k, const bf16* v) {
    FetchedKeys<D> fetched;
    fetched.load(runs, k, v, params.rules.kvHeads, kvHead);
    add(runs, fetched);
  }

  PHSA_DEVICE void add(const Run (&runs)[2], const FetchedKeys<D>& fetched) {
    const auto& [keys, rows] = fetched;
    const int g = laneIndex() / 4;
    uint32_t probabilities[N][2];
#pragma unroll
    for (int n = 0; n < N; n++) {
      // Two sums, so that a product does not wait for the one before.
      float scores[4] = {};
      float others[4] = {};
#pragma unroll
      for (int j = 0; j < D / 32; j++) {
        const uint32_t low[4] = {keys[0][j].x, keys[1][j].x, keys[0][j].y, keys[1][j].y};
        const uint32_t high[4] = {keys[0][j].z, keys[1][j].z, keys[0][j].w, keys[1][j].w};
        multiplyBf16(scores, low, queries[n][4 * j], queries[n][4 * j + 1]);
        multiplyBf16(others, high, queries[n][4 * j + 2], queries[n][4 * j + 3]);
      }
      const float scale = params.rules.scale * 1.44269504f;
#pragma unroll
      for (int i = 0; i < 4; i++) scores[i] = g < runs[i / 2].valid ? (scores[i] + others[i]) * scale : -INFINITY;
      float keep[2];
#pragma unroll
      for (int i = 0; i < 2; i++) {
        float both = fmaxf(scores[i], scores[i + 2]);
#pragma unroll
        for (int offset = 4; offset < kLanes; offset *= 2) both = fmaxf(both, __shfl_xor_sync(kWholeWarp, both, offset));
        both = fmaxf(both, largest[n][i]);
        keep[i] = shiftedExp2(largest[n][i], both);
        largest[n][i] = both;
        scores[i] = shiftedExp2(scores[i], both);
        scores[i + 2] = shiftedExp2(scores[i + 2], both);
        totals[n][i] = totals[n][i] * keep[i] + scores[i] + scores[i + 2];
      }
      probabilities[n][0] = transpose(roundToBf16(scores[0], scores[1]));
      probabilities[n][1] = transpose(roundToBf16(scores[2], scores[3]));
#pragma unroll
      for (int tile = 0; tile < D / 16; tile++) {
        values[n][tile][0] *= keep[0];
        values[n][tile][1] *= keep[1];
        values[n][tile][2] *= keep[0];
        values[n][tile][3] *= keep[1];
      }
    }
#pragma unroll
    for (int tile = 0; tile < D / 16; tile++) {
      uint32_t operand[4];
#pragma unroll
      for (int i = 0; i < 4; i++) {
        const int half = i / 2;
        const int word = i % 2 * (kWords / 2) + tile / 2;
        operand[i] = tile % 2 == 0 ? lowHalves(rows[half][0][word], rows[half][1][word]) : highHalves(rows[half][0][word], rows[half][1][word]);
      }
#pragma unroll
      for (int n = 0; n < N; n++) multiplyBf16(values[n][tile], operand, probabilities[n][0], probabilities[n][1]);
    }
  }

  /** Adds the runs from `first` to `end` that are this warp's: 16 keys of each 16 * Warps. */
  PHSA_DEVICE void addAll(const VisibleRuns& visible, int first, int end) {
    addRuns(first + warpIndex() * kKeys, end, Warps * kKeys, [&](int index) { return visible.at(params.sequences, params.rules, index, end); });
  }

  /** Adds 16 keys of each `stride` from `first` to `end`, whose runs are those of runAt(each lane's index, a multiple of 8): none from `end` on. */
  template <typename RunAt>
  PHSA_DEVICE void addRuns(int first, int end, int stride, RunAt runAt) {
    constexpr int kAtOnce = kLanes / 2;
    for (int start = first; start < end; start += kAtOnce * stride) {
      const Run own = runAt(start + laneIndex() / 2 * stride + laneIndex() % 2 * kRun);
      for (int step = 0; step < kAtOnce && start + step * stride < end; step++) {
        Run runs[2];
#pragma unroll
        for (int half = 0; half < 2; half++) {
          runs[half].row = __shfl_sync(kWholeWarp, own.row, 2 * step + half);
          runs[half].valid = __shfl_sync(kWholeWarp, own.valid, 2 * step + half);
        }
        add(runs);
      }
    }
  }

  /** As if nothing had been added. */
  PHSA_DEVICE void forget() {
#pragma unroll
    for (int n = 0; n < N; n++) {
#pragma unroll
      for (int tile = 0; tile < D / 16; tile++) values[n][tile][0] = values[n][tile][1] = values[n][tile][2] = values[n][tile][3] = 0.0f;
      largest[n][0] = largest[n][1] = -INFINITY;
      totals[n][0] = totals[n][1] = 0.0f;
    }
  }

  /** Leaves this warp's sums for the others. */
  template <typename Parts>
  PHSA_DEVICE void leave(Parts& parts) {
    const int c = laneIndex() % 4;
#pragma unroll
    for (int n = 0; n < N; n++) {
#pragma unroll
      for (int i = 0; i < 2; i++) {
        const int column = 8 * n + 2 * c + i;
#pragma unroll
        for (int offset = 4; offset < kLanes; offset *= 2) totals[n][i] += __shfl_xor_sync(kWholeWarp, totals[n][i], offset);
        if (column >= group) continue;
        if (laneIndex() / 4 == 0) parts.sums[warpIndex()][column] = float2{largest[n][i], totals[n][i]};
#pragma unroll
        for (int tile = 0; tile < D / 16; tile++) {
          parts.values[warpIndex()][column][dimension(tile, 0)] = values[n][tile][i];
          parts.values[warpIndex()][column][dimension(tile, 1)] = values[n][tile][i + 2];
        }
      }
    }
  }
};
