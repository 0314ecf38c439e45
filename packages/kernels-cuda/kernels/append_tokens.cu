// append_tokens.cu: new keys and values into their pages, and the running representatives (spec 6).
//
// One kernel, whose first thread blocks copy, a warp a token and KV head, and whose others sum: a warp owns one sub-block of one KV head that the new tokens
// touch and adds them in token order, starting from what is stored unless the sub-block begins here; so any split into steps adds the same numbers in
// the same order and leaves the same bits. When the last token of the sub-block arrives the representative takes the place of the sum of keys, and is written in f16 too
// where the fast choice of blocks reads it. Bound: bytes of k and v. Numerics: f32 sums.
#include "block_sums.cuh"
#include "overlap.cuh"
#include "paged_query.cuh"

/** Waits for the kernel before as late as it can: that one writes neither starts and lengths nor the page table. */
template <typename T, int D>
PHSA_DEVICE void appendCopy(const AppendParams& params) {
  const int64_t item = static_cast<int64_t>(blockIdx.x) * kWarps + warpIndex();
  const bool used = item < static_cast<int64_t>(params.sequences.queryTokens) * params.rules.kvHeads;
  Query query{-1, 0, 0, 0};
  if (used) query = findPagedQuery(params.sequences, params.rules, static_cast<int>(item / params.rules.kvHeads));
  const int64_t slot = query.sequence < 0 ? 0 : keyRow(params.sequences, query.sequence, query.position);
  waitForKernelBefore();
  letNextKernelBegin();
  if (query.sequence >= 0) copyToPage<T, D>(params, item, slot);
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

/** Sums new tokens into one sub-block, if there are any. Waits as above. */
template <typename T, int D>
PHSA_DEVICE void appendSums(const AppendParams& params) {
  const Sequences& sequences = params.sequences;
  const Rules& rules = params.rules;
  const int part = blockIdx.x - params.copyBlocks;
  const int kvHead = part / params.sumBlocks;
  const int index = part % params.sumBlocks * kWarps + warpIndex();
  const int size = rules.blockSize / rules.representatives;
  const int sequence = touchedSequence(sequences.queryStarts, sequences.sequences, size, index);
  const bool isSequence = sequence < sequences.sequences;
  const int firstRow = sequences.queryStarts[sequence];
  const int length = isSequence ? sequences.keyLengths[sequence] : 0;
  const int firstNew = isSequence ? length - (sequences.queryStarts[sequence + 1] - firstRow) : 0;
  const int subBlock = firstNew / size + index - (firstRow / size + 2 * sequence);
  const int start = max(firstNew, subBlock * size);
  const int end = min(length, (subBlock + 1) * size);
  const bool isNew = isSequence && start < end;
  const int64_t stored = isNew ? representativeRow(sequences, rules, sequence, kvHead, subBlock) : 0;
  waitForKernelBefore();
  letNextKernelBegin();
  if (!isNew) return;
  BlockSums<T, D> sums;
  if (start > subBlock * size) sums.load(params, stored);
  for (int position = start; position < end; position++) sums.add(params, firstRow + position - firstNew, kvHead);
  const bool isWhole = end == (subBlock + 1) * size;
  if (isWhole) sums.finish(params, kvHead, size);
  sums.store(params, stored);
  if (isWhole && params.halfReps != nullptr) sums.storeHalves(params.halfReps + stored * (D / 2));
}

template <typename T, int D>
PHSA_DEVICE void appendTokens(const AppendParams& params) {
  if (static_cast<int>(blockIdx.x) < params.copyBlocks) {
    appendCopy<T, D>(params);
  } else {
    appendSums<T, D>(params);
  }
}

#define INSTANCE(SUFFIX, T, D) PHSA_KERNEL(append_tokens_##SUFFIX, AppendParams, kThreads, appendTokens<T, D>)
PHSA_FOR_EACH_TYPE(INSTANCE)
