// attend_backward.cu: gradients of attention with the visible keys held fixed (spec 5). Deterministic: no atomics.
//
// delta: one warp a query head. dq: query-major as in attend.cu, a warp a query and H heads. dk and dv: key-major, a thread block owns 16 keys of
// one KV head and walks all query heads that see them, 32 at a time in shared memory: those of the range that sees the block as first tokens,
// window or densely, then the list of those that selected it (selected_lists.cu). Each of the 4 warps has 4 of the keys: first a lane is a query
// head and computes p and ds for the 4 keys, then the lanes are dimensions and add them up.
// Numerics: f32, p from the given lse. Bound: f32 multiply-adds; a first block that all queries see is one long walk of one thread block.
#include "elements.cuh"
#include "sequences.cuh"
#include "warp.cuh"

struct DeltaParams {
  const void* out;   // [Tq, Hq, D]
  const void* dOut;  // [Tq, Hq, D]
  float* delta;      // [Tq, Hq]: sum over D of out * dOut
  int64_t rows;      // Tq * Hq
};

struct QueryGradientParams {
  const void* q;        // [Tq, Hq, D]
  const void* k;        // [Tk, Hkv, D]
  const void* v;
  const int* selected;  // [Hkv, Tq, topK]
  const float* lse;     // [Tq, Hq]
  const float* delta;   // [Tq, Hq]
  const void* dOut;     // [Tq, Hq, D]
  void* dq;             // [Tq, Hq, D]
  Sequences sequences;
  Rules rules;
};

struct KeyGradientParams {
  const void* q;       // [Tq, Hq, D]
  const void* k;       // [Tk, Hkv, D]
  const void* v;
  const float* lse;    // [Tq, Hq]
  const float* delta;  // [Tq, Hq]
  const void* dOut;    // [Tq, Hq, D]
  const int* cursors;  // [Hkv, blocks, chunks]: ends of the lists
  const int* rows;     // [Hkv, Tq * topK]: the lists
  void* dk;            // [Tk, Hkv, D], zero beforehand
  void* dv;
  Sequences sequences;
  Rules rules;
  int chunks;
  int keyTiles;  // tiles of 16 keys in a block
};

template <typename T, int D>
PHSA_DEVICE void computeDelta(const DeltaParams& params) {
  constexpr int kPerLane = D / kLanes;
  const int64_t row = static_cast<int64_t>(blockIdx.x) * kWarps + warpIndex();
  if (row >= params.rows) return;
  const int64_t at = row * D + laneIndex() * kPerLane;
  float out[kPerLane];
  float dOut[kPerLane];
  loadElements(static_cast<const T*>(params.out) + at, out);
  loadElements(static_cast<const T*>(params.dOut) + at, dOut);
  float sum = 0.0f;
#pragma unroll
  for (int i = 0; i < kPerLane; i++) sum = fmaf(out[i], dOut[i], sum);
  sum = warpSum(sum);
  if (laneIndex() == 0) params.delta[row] = sum;
}

template <int D, int H>
struct alignas(16) QueryGradientShared {
  float queries[H][D];
  float dOuts[H][D];
  float dScores[kLanes][H];
  int64_t offsets[kLanes];  // of each key of the tile in k and v, -1 for none
};

template <typename T, int D, int H>
PHSA_DEVICE void queryGradient(const QueryGradientParams& params) {
  constexpr int kPerLane = D / kLanes;
  __shared__ QueryGradientShared<D, H> sharedOfWarps[kWarps];
  QueryGradientShared<D, H>& shared = sharedOfWarps[warpIndex()];
  const Sequences& sequences = params.sequences;
  const Rules& rules = params.rules;
  const int lane = laneIndex();
  const int group = rules.heads / rules.kvHeads;
  const int chunks = (group + H - 1) / H;
  const int kvHead = blockIdx.y / chunks;
  const int firstHead = blockIdx.y % chunks * H;
  const int heads = min(H, group - firstHead);
  const int row = blockIdx.x * kWarps + warpIndex();
  if (row >= sequences.queryTokens) return;
  const int64_t firstRow = static_cast<int64_t>(row) * rules.heads + kvHead * group + firstHead;
  const T* k = static_cast<const T*>(params.k);
  const T* v = static_cast<const T*>(params.v);

  const Query query = findQuery(sequences, rules, row);
  float sums[H][kPerLane] = {};
  if (query.sequence >= 0) {
    for (int index = lane; index < H * D; index += kLanes) {
      const bool used = index / D < heads;
      shared.queries[index / D][index % D] = used ? toFloat(static_cast<const T*>(params.q)[firstRow * D + index]) : 0.0f;
      shared.dOuts[index / D][index % D] = used ? toFloat(static_cast<const T*>(params.dOut)[firstRow * D + index]) : 0.0f;
    }
    float lse[H];
    float delta[H];
#pragma unroll
    for (int h = 0; h < H; h++) {
      lse[h] = h < heads ? params.lse[firstRow + h] : 0.0f;
      delta[h] = h < heads ? params.delta[firstRow + h] : 0.0f;
    }
    __syncwarp();
    const int64_t selectedRow = (static_cast<int64_t>(kvHead) * sequences.queryTokens + row) * rules.topK;
    const VisibleKeys keys = visibleKeys(rules, query, params.selected + selectedRow);
    for (int first = 0; first < keys.count; first += kLanes) {
      const int position = keys.at(first + lane);
      shared.offsets[lane] = -1;
      if (position >= 0) {
        const int64_t offset = (keyRow(sequences, query.sequence, position) * rules.kvHeads + kvHead) * D;
        shared.offsets[lane] = offset;
        float scores[H] = {};
        float dProbabilities[H] = {};
        dotRows<D>(k + offset, shared.queries[0], scores);
        dotRows<D>(v + offset, shared.dOuts[0], dProbabilities);
#pragma unroll
        for (int h = 0; h < H; h++) {
          shared.dScores[lane][h] = expf(scores[h] * rules.scale - lse[h]) * (dProbabilities[h] - delta[h]) * rules.scale;
        }
      }
      __syncwarp();
      const int count = min(kLanes, keys.count - first);
      for (int key = 0; key < count; key++) {
        const int64_t offset = shared.offsets[key];
        if (offset < 0) continue;
        float values[kPerLane];
        loadElements(k + offset + lane * kPerLane, values);
#pragma unroll
        for (int h = 0; h < H; h++) {
          const float dScore = shared.dScores[key][h];
#pragma unroll
          for (int i = 0; i < kPerLane; i++) sums[h][i] = fmaf(dScore, values[i], sums[h][i]);
        }
      }
      __syncwarp();
    }
  }
#pragma unroll
  for (int h = 0; h < H; h++) {
    if (h < heads) storeElements(static_cast<T*>(params.dq) + (firstRow + h) * D + lane * kPerLane, sums[h]);
  }
}

/** Keys that a thread block owns, and those of each warp. */
constexpr int kKeys = 16;
constexpr int kKeysPerWarp = kKeys / kWarps;
/** Query heads worked on at a time, one a lane. */
constexpr int kItems = kLanes;
/** Floats that keep the rows of query heads on different banks. */
constexpr int kPad = 4;

/** Dynamic shared memory of the key gradients; the host asks for its size. */
template <int D>
struct alignas(16) KeyGradientShared {
  float queries[kItems][D + kPad];
  float dOuts[kItems][D + kPad];
  float keys[kKeys][D];
  float values[kKeys][D];
  float probabilities[kItems][kKeys];
  float dScores[kItems][kKeys];
};

template <typename T, int D>
PHSA_DEVICE void keyGradient(const KeyGradientParams& params) {
  constexpr int kPerLane = D / kLanes;
  PHSA_DYNAMIC_SHARED(bytes);
  KeyGradientShared<D>& shared = *reinterpret_cast<KeyGradientShared<D>*>(bytes);
  const Sequences& sequences = params.sequences;
  const Rules& rules = params.rules;
  const int lane = laneIndex();
  const int group = rules.heads / rules.kvHeads;
  const int kvHead = blockIdx.y;
  const int globalBlock = blockIdx.x / params.keyTiles;
  const int sequence = lastStartAtMost(sequences.blockStarts, sequences.sequences + 1, globalBlock);
  if (sequence == sequences.sequences) return;
  const int block = globalBlock - sequences.blockStarts[sequence];
  const int firstKey = block * rules.blockSize + blockIdx.x % params.keyTiles * kKeys;
  const int length = keyCount(sequences, sequence);
  const int keyEnd = min(min(firstKey + kKeys, (block + 1) * rules.blockSize), length);
  if (firstKey >= keyEnd) return;

  const int64_t firstKeyRow = keyRow(sequences, sequence, firstKey);
  for (int index = threadIdx.x; index < kKeys * D; index += kThreads) {
    const bool used = firstKey + index / D < keyEnd;
    const int64_t at = ((firstKeyRow + index / D) * rules.kvHeads + kvHead) * D + index % D;
    shared.keys[index / D][index % D] = used ? toFloat(static_cast<const T*>(params.k)[at]) : 0.0f;
    shared.values[index / D][index % D] = used ? toFloat(static_cast<const T*>(params.v)[at]) : 0.0f;
  }

  // Queries that see the block without having chosen it: from the block on, all for a first block, else as far as window and denseBelow go.
  const int firstQuery = firstPosition(sequences, sequence);
  const int rangeStart = max(firstQuery, firstKey);
  int64_t rangeEnd = length;
  if (block >= rules.initBlocks) {
    rangeEnd = min(rangeEnd, max((static_cast<int64_t>(block) + rules.localBlocks) * rules.blockSize, static_cast<int64_t>(rules.denseBelow)));
  }
  const int ranged = max(0, static_cast<int>(rangeEnd) - rangeStart);
  int listStart = 0;
  int listed = 0;
  if (params.cursors) {
    const int* ends = params.cursors + (static_cast<int64_t>(kvHead) * sequences.blocks + globalBlock) * params.chunks;
    listStart = globalBlock == 0 ? 0 : ends[-1];
    listed = ends[params.chunks - 1] - listStart;
  }
  const int* list = params.rows + static_cast<int64_t>(kvHead) * sequences.queryTokens * rules.topK + listStart;
  const int queryStart = sequences.queryStarts[sequence];

  float keySums[kKeysPerWarp][kPerLane] = {};
  float valueSums[kKeysPerWarp][kPerLane] = {};
  const int64_t items = (static_cast<int64_t>(ranged) + listed) * group;
  const int ownKeys = warpIndex() * kKeysPerWarp;
  for (int64_t first = 0; first < items; first += kItems) {
    // This lane's query head.
    const int64_t item = first + lane;
    const int index = static_cast<int>(item / group);
    int position = -1;
    int64_t head = 0;
    if (item < items) {
      const int row = index < ranged ? queryStart + rangeStart + index - firstQuery : list[index - ranged];
      position = firstQuery + row - queryStart;
      head = static_cast<int64_t>(row) * rules.heads + kvHead * group + item % group;
    }
    __syncthreads();
    for (int other = warpIndex(); other < kItems; other += kWarps) {
      const int64_t otherHead = __shfl_sync(kWholeWarp, head, other);
      const bool used = first + other < items;
      float query[kPerLane] = {};
      float dOut[kPerLane] = {};
      if (used) {
        loadElements(static_cast<const T*>(params.q) + otherHead * D + lane * kPerLane, query);
        loadElements(static_cast<const T*>(params.dOut) + otherHead * D + lane * kPerLane, dOut);
      }
      storeElements(&shared.queries[other][lane * kPerLane], query);
      storeElements(&shared.dOuts[other][lane * kPerLane], dOut);
    }
    __syncthreads();

    float scores[kKeysPerWarp] = {};
    float dProbabilities[kKeysPerWarp] = {};
    dotRows<D>(shared.queries[lane], shared.keys[ownKeys], scores);
    dotRows<D>(shared.dOuts[lane], shared.values[ownKeys], dProbabilities);
    const float lse = item < items ? params.lse[head] : 0.0f;
    const float delta = item < items ? params.delta[head] : 0.0f;
#pragma unroll
    for (int i = 0; i < kKeysPerWarp; i++) {
      const int key = firstKey + ownKeys + i;
      // Not a factor of 0: keys that no query sees may be NaN.
      const bool visible = key < keyEnd && key <= position;
      const float probability = visible ? expf(scores[i] * rules.scale - lse) : 0.0f;
      shared.probabilities[lane][ownKeys + i] = probability;
      shared.dScores[lane][ownKeys + i] = visible ? probability * (dProbabilities[i] - delta) * rules.scale : 0.0f;
    }
    __syncwarp();
    for (int other = 0; other < kItems; other++) {
      float query[kPerLane];
      float dOut[kPerLane];
      loadElements(&shared.queries[other][lane * kPerLane], query);
      loadElements(&shared.dOuts[other][lane * kPerLane], dOut);
#pragma unroll
      for (int i = 0; i < kKeysPerWarp; i++) {
        const float dScore = shared.dScores[other][ownKeys + i];
        const float probability = shared.probabilities[other][ownKeys + i];
#pragma unroll
        for (int d = 0; d < kPerLane; d++) {
          keySums[i][d] = fmaf(dScore, query[d], keySums[i][d]);
          valueSums[i][d] = fmaf(probability, dOut[d], valueSums[i][d]);
        }
      }
    }
    __syncwarp();
  }
#pragma unroll
  for (int i = 0; i < kKeysPerWarp; i++) {
    if (firstKey + ownKeys + i >= keyEnd) continue;
    const int64_t at = ((firstKeyRow + ownKeys + i) * rules.kvHeads + kvHead) * D + lane * kPerLane;
    storeElements(static_cast<T*>(params.dk) + at, keySums[i]);
    storeElements(static_cast<T*>(params.dv) + at, valueSums[i]);
  }
}

#define INSTANCE(SUFFIX, T, D)                                                \
  PHSA_KERNEL(attend_delta_##SUFFIX, DeltaParams, kThreads, computeDelta<T, D>) \
  PHSA_KERNEL(attend_key_gradient_##SUFFIX, KeyGradientParams, kThreads, keyGradient<T, D>)
PHSA_FOR_EACH_TYPE(INSTANCE)
#undef INSTANCE
#define INSTANCE(SUFFIX, T, D, H) PHSA_KERNEL(attend_query_gradient_##SUFFIX, QueryGradientParams, kThreads, queryGradient<T, D, H>)
PHSA_FOR_EACH_TYPE_AND_HEADS(INSTANCE)
