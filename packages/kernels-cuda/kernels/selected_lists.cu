// selected_lists.cu: for each key block of a KV head, the queries that selected it, ascending: `selected` inverted, for the gradients of k and v.
//
// Three steps without atomics, so that lists and the sums over them are the same each time: rows are cut into chunks, one warp a chunk and KV head
// walks its rows in order and counts by block; one thread block a KV head scans the counts, block by block and chunk by chunk; then the warps
// walk again and write. A row selects a block at most once, so its lanes never meet; lanes of consecutive rows are ordered by the warp barrier.
// Bound: latency of one row after the other, hence the chunks.
#include "sequences.cuh"
#include "warp.cuh"

struct SelectedListsParams {
  const int* selected;  // [Hkv, Tq, topK]
  int* cursors;         // [Hkv, blocks, chunks]: counts, after the scan starts, after the fill ends of the lists within a KV head
  int* rows;            // [Hkv, Tq * topK]: the lists, one after the other
  Sequences sequences;
  Rules rules;
  int chunks;
  int chunkRows;
};

PHSA_DEVICE void walkSelected(const SelectedListsParams& params, bool write) {
  const Sequences& sequences = params.sequences;
  const Rules& rules = params.rules;
  const int chunk = blockIdx.x;
  const int kvHead = blockIdx.y;
  int* cursors = params.cursors + static_cast<int64_t>(kvHead) * sequences.blocks * params.chunks;
  int* lists = params.rows + static_cast<int64_t>(kvHead) * sequences.queryTokens * rules.topK;
  const int firstRow = chunk * params.chunkRows;
  const int endRow = min(firstRow + params.chunkRows, sequences.queryStarts[sequences.sequences]);
  for (int row = firstRow; row < endRow; row++) {
    const Query query = findQuery(sequences, rules, row);
    const int* selected = params.selected + (static_cast<int64_t>(kvHead) * sequences.queryTokens + row) * rules.topK;
    for (int entry = laneIndex(); entry < rules.topK; entry += kLanes) {
      const int block = selected[entry];
      if (block < 0 || query.position < query.denseBelow) continue;
      int& cursor = cursors[static_cast<int64_t>(sequences.blockStarts[query.sequence] + block) * params.chunks + chunk];
      if (write) lists[cursor] = row;
      cursor++;
    }
    __syncwarp();
  }
}

PHSA_DEVICE void countSelected(const SelectedListsParams& params) { walkSelected(params, false); }

PHSA_DEVICE void fillSelected(const SelectedListsParams& params) { walkSelected(params, true); }

constexpr int kScanThreads = 1024;

/** Exclusive sums of a KV head's counts, in place. */
PHSA_DEVICE void scanSelected(const SelectedListsParams& params) {
  __shared__ int warpTotals[kScanThreads / kLanes];
  const int64_t count = static_cast<int64_t>(params.sequences.blocks) * params.chunks;
  int* counts = params.cursors + blockIdx.x * count;
  int before = 0;
  for (int64_t first = 0; first < count; first += kScanThreads) {
    const int64_t index = first + threadIdx.x;
    const int own = index < count ? counts[index] : 0;
    int sum = own;
    for (int offset = 1; offset < kLanes; offset *= 2) {
      const int other = __shfl_up_sync(kWholeWarp, sum, offset);
      if (laneIndex() >= offset) sum += other;
    }
    if (laneIndex() == kLanes - 1) warpTotals[warpIndex()] = sum;
    __syncthreads();
    int total = 0;
    for (int warp = 0; warp < kScanThreads / kLanes; warp++) {
      if (warp < warpIndex()) sum += warpTotals[warp];
      total += warpTotals[warp];
    }
    if (index < count) counts[index] = before + sum - own;
    before += total;
    __syncthreads();
  }
}

PHSA_KERNEL(count_selected, SelectedListsParams, kLanes, countSelected)
PHSA_KERNEL(scan_selected, SelectedListsParams, kScanThreads, scanSelected)
PHSA_KERNEL(fill_selected, SelectedListsParams, kLanes, fillSelected)
