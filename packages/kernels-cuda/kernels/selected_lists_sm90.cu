// selected_lists_sm90.cu: `selected` inverted: for each KV head and key block of the batch, the choices of it, in ascending order.
//
// A choice is its place in a KV head's part of `selected`: row * topK + slot, row a row of q. The key block is one of the batch: blockStarts[sequence] + block.
//   starts   i32 [Hkv, blocks + 1]: where each block's list begins among the choices of its KV head, at the end their number
//   entries  i32 [Hkv, Tq * topK]: the lists, one after the other
// Rows of no sequence and rows below denseBelow are in no list. With sections of rows (sectionRows below Tq) each section has lists of its own:
// starts i32 [Hkv, sections, blocks + 1], and its entries from place section * sectionRows * topK of its KV head on.
//
// A counting sort without a sort: rows are cut into chunks, a thread block a chunk and KV head (and range of blocks, where all of them do not fit
// into shared memory) counts by block; the counts are summed over chunks, then over blocks; then the same thread blocks walk their rows again,
// 32 at a time: each row sets its bit in its blocks' masks, so the bits below its own are the choices before it. The order, and so every sum over a
// list, is the same each time. Bound: the scattered 4-byte writes; two reads of `selected`.
#include "sequences.cuh"
#include "warp.cuh"

struct BlockListsParams {
  const int* selected;  // [Hkv, Tq, topK]
  const int* wanted;    // 0 there: the lists are not needed; null: they are
  int* offsets;         // [Hkv, sections, chunks, blocks]: counts, then the choices of the same block in the section's earlier chunks
  int* starts;
  int* entries;
  Sequences sequences;
  Rules rules;
  int sectionRows;
  int chunks;       // of a section
  int chunkRows;    // a multiple of kRoundRows
  int rangeBlocks;  // blocks whose masks and cursors are in shared memory together
};

constexpr int kListThreads = 512;
constexpr int kRoundRows = 32;
constexpr int kMostTopK = 64;
/** Choices of a round that a thread takes. */
constexpr int kPerThread = kRoundRows * kMostTopK / kListThreads;

/** Rows of one sequence that may have chosen blocks, and the packed index of its first block. */
struct ListedRows {
  int from;
  int first;
  int end;
  int block;
};

/** What a thread reads of its chunk: the same places in every round. */
struct ListWalk {
  const BlockListsParams& params;
  const int* selected;
  int64_t part;  // place of the section's first choice in `entries`
  int firstRow;
  int endRow;
  int firstBlock;
  int rangeEnd;
  int rows[kPerThread];  // within a round
  int slots[kPerThread];
  ListedRows listed;

  PHSA_DEVICE explicit ListWalk(const BlockListsParams& given) : params(given), listed{0, 0, 0, 0} {
    const int topK = params.rules.topK;
    const int rowsInAll = params.sequences.queryTokens;
    const int sections = (rowsInAll + params.sectionRows - 1) / params.sectionRows;
    const int kvHead = blockIdx.z / sections;
    const int sectionRow = blockIdx.z % sections * params.sectionRows;
    const int64_t choices = static_cast<int64_t>(kvHead) * rowsInAll * topK;
    selected = params.selected + choices;
    part = choices + static_cast<int64_t>(sectionRow) * topK;
    firstRow = sectionRow + blockIdx.x * params.chunkRows;
    endRow = min(min(rowsInAll, sectionRow + params.sectionRows), firstRow + params.chunkRows);
    firstBlock = blockIdx.y * params.rangeBlocks;
    rangeEnd = min(firstBlock + params.rangeBlocks, params.sequences.blocks);
#pragma unroll
    for (int i = 0; i < kPerThread; i++) {
      const int place = i * kListThreads + threadIdx.x;
      rows[i] = place / topK;
      slots[i] = place % topK;
    }
  }

  /** The blocks as `selected` has them, -1 past the chunk. */
  PHSA_DEVICE void load(int firstRow, int (&blocks)[kPerThread]) const {
    const int topK = params.rules.topK;
#pragma unroll
    for (int i = 0; i < kPerThread; i++) {
      blocks[i] = -1;
      if (rows[i] < kRoundRows && firstRow + rows[i] < endRow) blocks[i] = selected[static_cast<int64_t>(firstRow + rows[i]) * topK + slots[i]];
    }
  }

  /** Where such a block lies in the range, -1 for one that is not in it. */
  PHSA_DEVICE int inRange(int row, int block) {
    if (block < 0) return -1;
    if (row < listed.from || row >= listed.end) find(row);
    if (row < listed.first) return -1;
    const int packed = listed.block + block;
    return packed >= firstBlock && packed < rangeEnd ? packed - firstBlock : -1;
  }

  PHSA_DEVICE void find(int row) {
    const Sequences& sequences = params.sequences;
    const int sequence = lastStartAtMost(sequences.queryStarts, sequences.sequences + 1, row);
    if (sequence == sequences.sequences) {
      listed = ListedRows{sequences.queryStarts[sequence], INT_MAX, INT_MAX, 0};
      return;
    }
    const int from = sequences.queryStarts[sequence];
    const Query query = queryOf(sequences, params.rules, sequence, from);
    const int dense = max(0, query.denseBelow - query.position);
    listed = ListedRows{from, from + dense, sequences.queryStarts[sequence + 1], sequences.blockStarts[sequence]};
  }
};

/** Counts of this thread block's chunk. */
PHSA_DEVICE int* chunkOffsets(const BlockListsParams& params) {
  return params.offsets + (static_cast<int64_t>(blockIdx.z) * params.chunks + blockIdx.x) * params.sequences.blocks;
}

PHSA_DEVICE void countBlockLists(const BlockListsParams& params) {
  if (params.wanted && *params.wanted == 0) return;
  PHSA_DYNAMIC_SHARED(bytes);
  int* counts = reinterpret_cast<int*>(bytes);
  ListWalk walk(params);
  for (int i = threadIdx.x; i < params.rangeBlocks; i += kListThreads) counts[i] = 0;
  __syncthreads();
#pragma unroll 4
  for (int firstRow = walk.firstRow; firstRow < walk.endRow; firstRow += kRoundRows) {
    int blocks[kPerThread];
    walk.load(firstRow, blocks);
#pragma unroll
    for (int i = 0; i < kPerThread; i++) {
      const int block = walk.inRange(firstRow + walk.rows[i], blocks[i]);
      if (block >= 0) atomicAdd(&counts[block], 1);
    }
  }
  __syncthreads();
  int* offsets = chunkOffsets(params);
  for (int i = walk.firstBlock + threadIdx.x; i < walk.rangeEnd; i += kListThreads) offsets[i] = counts[i - walk.firstBlock];
}

/** A thread owns a block: sums over the chunks before each, and of all of them into `starts`. */
PHSA_DEVICE void sumBlockLists(const BlockListsParams& params) {
  if (params.wanted && *params.wanted == 0) return;
  constexpr int kAtOnce = 8;
  const int blocks = params.sequences.blocks;
  const int block = blockIdx.x * kThreads + threadIdx.x;
  if (block >= blocks) return;
  int* offsets = params.offsets + static_cast<int64_t>(blockIdx.y) * params.chunks * blocks + block;
  int before = 0;
  for (int first = 0; first < params.chunks; first += kAtOnce) {
    int counts[kAtOnce];
#pragma unroll
    for (int i = 0; i < kAtOnce; i++) counts[i] = first + i < params.chunks ? offsets[static_cast<int64_t>(first + i) * blocks] : 0;
#pragma unroll
    for (int i = 0; i < kAtOnce; i++) {
      if (first + i < params.chunks) offsets[static_cast<int64_t>(first + i) * blocks] = before;
      before += counts[i];
    }
  }
  params.starts[static_cast<int64_t>(blockIdx.y) * (blocks + 1) + block] = before;
}

constexpr int kScanThreads = 1024;
constexpr int kScanned = 4;  // blocks of a thread at a time

/** Exclusive sums of the lengths of a KV head's section, in place. */
PHSA_DEVICE void scanBlockLists(const BlockListsParams& params) {
  if (params.wanted && *params.wanted == 0) return;
  __shared__ int warpTotals[kScanThreads / kLanes];
  const int blocks = params.sequences.blocks;
  int* starts = params.starts + static_cast<int64_t>(blockIdx.x) * (blocks + 1);
  int before = 0;
  for (int first = 0; first < blocks; first += kScanThreads * kScanned) {
    const int own = first + threadIdx.x * kScanned;
    int lengths[kScanned];
    int sum = 0;
#pragma unroll
    for (int i = 0; i < kScanned; i++) {
      lengths[i] = own + i < blocks ? starts[own + i] : 0;
      sum += lengths[i];
    }
    int upTo = sum;
    for (int offset = 1; offset < kLanes; offset *= 2) {
      const int other = __shfl_up_sync(kWholeWarp, upTo, offset);
      if (laneIndex() >= offset) upTo += other;
    }
    if (laneIndex() == kLanes - 1) warpTotals[warpIndex()] = upTo;
    __syncthreads();
    int total = 0;
    int start = before + upTo - sum;
    for (int warp = 0; warp < kScanThreads / kLanes; warp++) {
      if (warp < warpIndex()) start += warpTotals[warp];
      total += warpTotals[warp];
    }
#pragma unroll
    for (int i = 0; i < kScanned; i++) {
      if (own + i < blocks) starts[own + i] = start;
      start += lengths[i];
    }
    before += total;
    __syncthreads();
  }
  if (threadIdx.x == 0) starts[blocks] = before;
}

PHSA_DEVICE void fillBlockLists(const BlockListsParams& params) {
  if (params.wanted && *params.wanted == 0) return;
  PHSA_DYNAMIC_SHARED(bytes);
  int* cursors = reinterpret_cast<int*>(bytes);
  unsigned* masks = reinterpret_cast<unsigned*>(cursors + params.rangeBlocks);  // two rounds' masks, so that one is cleared while the next fills
  ListWalk walk(params);
  const int topK = params.rules.topK;
  const int* offsets = chunkOffsets(params);
  const int* starts = params.starts + static_cast<int64_t>(blockIdx.z) * (params.sequences.blocks + 1);
  int* entries = params.entries + walk.part;
  for (int i = walk.firstBlock + threadIdx.x; i < walk.rangeEnd; i += kListThreads) cursors[i - walk.firstBlock] = starts[i] + offsets[i];
  for (int i = threadIdx.x; i < 2 * params.rangeBlocks; i += kListThreads) masks[i] = 0;
  int next[kPerThread];
  walk.load(walk.firstRow, next);
  __syncthreads();
  unsigned* mask = masks;
  for (int firstRow = walk.firstRow; firstRow < walk.endRow; firstRow += kRoundRows) {
    int blocks[kPerThread];
#pragma unroll
    for (int i = 0; i < kPerThread; i++) {
      blocks[i] = walk.inRange(firstRow + walk.rows[i], next[i]);
      if (blocks[i] >= 0) atomicOr(&mask[blocks[i]], 1u << walk.rows[i]);
    }
    walk.load(firstRow + kRoundRows, next);
    __syncthreads();
    int lengths[kPerThread];  // of the block's choices in the round, for the first of them only
#pragma unroll
    for (int i = 0; i < kPerThread; i++) {
      lengths[i] = 0;
      if (blocks[i] < 0) continue;
      const unsigned chosen = mask[blocks[i]];
      const unsigned before = chosen & ((1u << walk.rows[i]) - 1);
      entries[cursors[blocks[i]] + __popc(before)] = (firstRow + walk.rows[i]) * topK + walk.slots[i];
      if (before == 0) lengths[i] = __popc(chosen);
    }
    __syncthreads();
#pragma unroll
    for (int i = 0; i < kPerThread; i++) {
      if (lengths[i] == 0) continue;
      cursors[blocks[i]] += lengths[i];
      mask[blocks[i]] = 0;
    }
    mask = mask == masks ? masks + params.rangeBlocks : masks;
  }
}

PHSA_KERNEL(count_block_lists, BlockListsParams, kListThreads, countBlockLists)
PHSA_KERNEL(sum_block_lists, BlockListsParams, kThreads, sumBlockLists)
PHSA_KERNEL(scan_block_lists, BlockListsParams, kScanThreads, scanBlockLists)
PHSA_KERNEL(fill_block_lists, BlockListsParams, kListThreads, fillBlockLists)
