// append_tokens.cu: new keys and values into their pages, and the running representatives (spec 6).
//
// Two kernels. Copy: a warp a token and KV head. Sums: a warp owns one sub-block of one KV head that the new tokens touch and adds them in token
// order, starting from what is stored unless the sub-block begins here; so any split into steps adds the same numbers in the same order and leaves
// the same bits. The representative is written once, when the last token of the sub-block arrives. Bound: bytes of k and v. Numerics: f32 sums.
#include "elements.cuh"
#include "sequences.cuh"
#include "warp.cuh"

struct AppendCopyParams {
  const void* k;   // [Tq, Hkv, D]
  const void* v;
  void* keyPages;  // [slots, Hkv, D]
  void* valuePages;
  Sequences sequences;
  Rules rules;
};

struct AppendSumsParams {
  const void* k;         // [Tq, Hkv, D]
  const float* marks;    // [Tq]
  const float* lambda;   // [Hkv]
  float* keySums;        // [sub-blocks, Hkv, D]
  float* markedSums;     // [sub-blocks, Hkv, D]
  float* reps;           // [sub-blocks, Hkv, D]
  int* marked;           // [sub-blocks, Hkv]: punctuation tokens so far
  Sequences sequences;
  Rules rules;
};

template <typename T, int D>
PHSA_DEVICE void appendCopy(const AppendCopyParams& params) {
  constexpr int kPerLane = D / kLanes;
  const int64_t item = static_cast<int64_t>(blockIdx.x) * kWarps + warpIndex();
  if (item >= static_cast<int64_t>(params.sequences.queryTokens) * params.rules.kvHeads) return;
  const Query query = findQuery(params.sequences, params.rules, static_cast<int>(item / params.rules.kvHeads));
  if (query.sequence < 0) return;
  using Elements = Pack<T, kPerLane>;
  const int64_t slot = keyRow(params.sequences, query.sequence, query.position);
  const int64_t target = (slot * params.rules.kvHeads + item % params.rules.kvHeads) * kLanes + laneIndex();
  const int64_t source = item * kLanes + laneIndex();
  static_cast<Elements*>(params.keyPages)[target] = static_cast<const Elements*>(params.k)[source];
  static_cast<Elements*>(params.valuePages)[target] = static_cast<const Elements*>(params.v)[source];
}

/**
 * Which sub-block of which sequence is the `index`-th that may be touched: n tokens touch at most n / size + 2 sub-blocks, so sequence s has the indices
 * from queryStarts[s] / size + 2 s on.
 */
PHSA_DEVICE int touchedSequence(const int* starts, int sequences, int size, int index) {
  int low = 0;
  int high = sequences;
  while (low < high) {
    const int middle = (low + high + 1) / 2;
    if (starts[middle] / size + 2 * middle <= index) {
      low = middle;
    } else {
      high = middle - 1;
    }
  }
  return low;
}

template <typename T, int D>
PHSA_DEVICE void appendSums(const AppendSumsParams& params) {
  constexpr int kPerLane = D / kLanes;
  const Sequences& sequences = params.sequences;
  const Rules& rules = params.rules;
  const int kvHead = blockIdx.y;
  const int index = blockIdx.x * kWarps + warpIndex();
  const int size = rules.blockSize / rules.representatives;
  const int sequence = touchedSequence(sequences.queryStarts, sequences.sequences, size, index);
  if (sequence == sequences.sequences) return;
  const int firstRow = sequences.queryStarts[sequence];
  const int length = sequences.keyLengths[sequence];
  const int firstNew = length - (sequences.queryStarts[sequence + 1] - firstRow);
  const int subBlock = firstNew / size + index - (firstRow / size + 2 * sequence);
  const int start = max(firstNew, subBlock * size);
  const int end = min(length, (subBlock + 1) * size);
  if (start >= end) return;

  const int64_t stored = representativeRow(sequences, rules, sequence, kvHead, subBlock);
  const int64_t at = stored * D + laneIndex() * kPerLane;
  float keySums[kPerLane] = {};
  float markedSums[kPerLane] = {};
  int marked = 0;
  if (start > subBlock * size) {
    loadElements(params.keySums + at, keySums);
    loadElements(params.markedSums + at, markedSums);
    marked = params.marked[stored];
  }
  for (int position = start; position < end; position++) {
    const int64_t row = firstRow + position - firstNew;
    float key[kPerLane];
    loadElements(static_cast<const T*>(params.k) + (row * rules.kvHeads + kvHead) * D + laneIndex() * kPerLane, key);
#pragma unroll
    for (int i = 0; i < kPerLane; i++) keySums[i] += key[i];
    if (params.marks[row] == 0.0f) continue;
    marked++;
#pragma unroll
    for (int i = 0; i < kPerLane; i++) markedSums[i] += key[i];
  }
  // No lane may store the count before all have read it.
  __syncwarp();
  storeElements(params.keySums + at, keySums);
  storeElements(params.markedSums + at, markedSums);
  if (laneIndex() == 0) params.marked[stored] = marked;
  if (end < (subBlock + 1) * size) return;
  const float share = params.lambda[kvHead];
  float representative[kPerLane];
#pragma unroll
  for (int i = 0; i < kPerLane; i++) {
    const float global = keySums[i] / size;
    const float punctuation = marked == 0 ? global : markedSums[i] / marked;
    representative[i] = share * global + (1.0f - share) * punctuation;
  }
  storeElements(params.reps + at, representative);
}

#define INSTANCE(SUFFIX, T, D)                                                        \
  PHSA_KERNEL(append_copy_##SUFFIX, AppendCopyParams, kThreads, appendCopy<T, D>)     \
  PHSA_KERNEL(append_sums_##SUFFIX, AppendSumsParams, kThreads, appendSums<T, D>)
PHSA_FOR_EACH_TYPE(INSTANCE)
