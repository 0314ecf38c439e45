// attend_lists_sm90.cu: for each tile of attend_sm90.cu the list of the keys that its queries see outside its ranges (spec 5): the union of the selected
// blocks, the forced blocks that not all queries see, and what the ranges leave over. Blocks of 16, 32 and 64 tokens.
//
// A list has units of 16 keys, first those that only the first warpgroup's queries see, then those of both, then those of the second alone, filled up to
// whole steps; of each unit a bit for every query that sees it. A block that so few queries of a tile chose that it costs more in the union than the
// choices by themselves is left out of the list, and its choices are left to attend_selected. Before the lists, attend_overlap_sm90 looks at some
// tiles: where that would save less than it costs to go over all rows once more, nothing is left out.
// Bound: by estimate the latency of scattered reads and atomics on shared memory; less than a tenth of the attention that follows.
#include "attend_tiles.cuh"

constexpr int kNoUnit = 0x07ffffff;  // its keys lie past every end
constexpr int kListThreads = 128;

/** Sum of `value` over the threads before this one; `total` is that of all. */
PHSA_DEVICE int sumBefore(int value, int* warpTotals, int& total) {
  const int lane = threadIdx.x & 31;
  const int warp = threadIdx.x >> 5;
  int sum = value;
#pragma unroll
  for (int step = 1; step < 32; step *= 2) {
    const int other = __shfl_up_sync(~0u, sum, step);
    if (lane >= step) sum += other;
  }
  __syncthreads();
  if (lane == 31) warpTotals[warp] = sum;
  __syncthreads();
  int before = 0;
  total = 0;
#pragma unroll
  for (int w = 0; w < kListThreads / 32; w++) {
    if (w < warp) before += warpTotals[w];
    total += warpTotals[w];
  }
  return before + sum - value;
}

/** Blocks that a tile's queries may have selected, `range` of them from `start` on, and where their choices lie. */
struct TileChoices {
  const int* selected;
  int entries;
  int start;
  uint32_t range;

  PHSA_DEVICE TileChoices(const AttendTilesParams& params, const AttendTile& tile, int kvHead) {
    const Rules& rules = params.rules;
    const int64_t firstRow = static_cast<int64_t>(kvHead) * params.sequences.queryTokens + tile.first;
    selected = params.selected + firstRow * rules.topK;
    start = tile.initBlocks;
    range = max(0, tile.endBlock - tile.initBlocks);
    entries = range > 0 ? (tile.end - tile.first) * rules.topK : 0;
  }

  /** Runs `use(block - start, entry)` for this thread's share of the choices; several loads are under way at once. */
  template <typename Use>
  PHSA_DEVICE void each(Use use) const {
    constexpr int kAtOnce = 8;
    for (int from = threadIdx.x; from < entries; from += kAtOnce * kListThreads) {
      uint32_t found[kAtOnce];
#pragma unroll
      for (int i = 0; i < kAtOnce; i++) {
        const int entry = from + i * kListThreads;
        found[i] = entry < entries ? selected[entry] - start : ~0u;
      }
#pragma unroll
      for (int i = 0; i < kAtOnce; i++) {
        if (found[i] < range) use(found[i], from + i * kListThreads);
      }
    }
  }
};

/** Bits `start` up to `end` of a mask, of those that are in `word`. */
PHSA_DEVICE uint32_t bitsOf(int word, int start, int end) {
  const auto below = [&](int bit) { return bit <= word * 32 ? 0u : bit >= word * 32 + 32 ? ~0u : (1u << (bit & 31)) - 1; };
  return below(end) & ~below(start);
}

/**
 * Blocks of a tile that some of its queries see, by rank, in shared memory: two words for 32 blocks, 1 + `words` for each block of the list.
 * Marked in a bitmap, ranked by counting bits, masks collected at the ranks: linear in the choices and in 1/32 of the blocks.
 */
struct RankedBlocks {
  const TileChoices& chosen;
  int words;
  uint32_t* bitmap;
  int* before;      // blocks before each word of the bitmap
  int* blocks;      // of each rank
  uint32_t* masks;  // [ranks, words]: a bit for each query

  PHSA_DEVICE RankedBlocks(const AttendTilesParams& params, const TileChoices& given, uint32_t* memory) : chosen(given), words(params.words) {
    const int bitWords = (chosen.range + 31) / 32;
    bitmap = memory;
    before = reinterpret_cast<int*>(memory + bitWords);
    blocks = reinterpret_cast<int*>(memory + 2 * bitWords);
    masks = memory + 2 * bitWords + params.listBlocks;
  }

  PHSA_DEVICE int rank(uint32_t block) const { return before[block >> 5] + __popc(bitmap[block >> 5] & ((1u << (block & 31)) - 1)); }

  /** Ranks what was chosen and what lies from `first` up to `end`, and collects who chose each. How many there are. */
  PHSA_DEVICE int collect(int first, int end, int topK, int* warpTotals) const {
    const int thread = threadIdx.x;
    const int bitWords = (chosen.range + 31) / 32;
    for (int word = thread; word < bitWords; word += kListThreads) bitmap[word] = 0;
    __syncthreads();
    chosen.each([&](uint32_t block, int) { atomicOr(bitmap + (block >> 5), 1u << (block & 31)); });
    for (int block = first - chosen.start + thread; block < end - chosen.start; block += kListThreads) {
      atomicOr(bitmap + (block >> 5), 1u << (block & 31));
    }
    __syncthreads();
    const int share = (bitWords + kListThreads - 1) / kListThreads;
    const int wordStart = min(thread * share, bitWords);
    const int wordEnd = min(wordStart + share, bitWords);
    int mine = 0;
    for (int word = wordStart; word < wordEnd; word++) mine += __popc(bitmap[word]);
    int total;
    int next = sumBefore(mine, warpTotals, total);
    for (int word = wordStart; word < wordEnd; word++) {
      before[word] = next;
      for (uint32_t bits = bitmap[word]; bits != 0; bits &= bits - 1) blocks[next++] = chosen.start + word * 32 + __ffs(bits) - 1;
    }
    for (int word = thread; word < total * words; word += kListThreads) masks[word] = 0;
    __syncthreads();
    const float rowsPerEntry = 1.0f / max(topK, 1);
    chosen.each([&](uint32_t block, int entry) {
      const int row = static_cast<int>((entry + 0.5f) * rowsPerEntry);
      atomicOr(masks + rank(block) * words + (row >> 5), 1u << (row & 31));
    });
    __syncthreads();
    return total;
  }

  /** What a block costs more in the union than its choices by themselves, in 1/128 of a unit. */
  PHSA_DEVICE int excess(int at, const AttendTilesParams& params) const {
    const Rules& rules = params.rules;
    int choices = 0;
    for (int word = 0; word < words; word++) choices += __popc(masks[at * words + word]);
    return rules.blockSize / kUnit * 128 - choices * (rules.heads / rules.kvHeads) * params.unitsLimit;
  }
};

/** Looks at a few items spread over all: what leaving out would save, in 1/128 of a unit. Shared memory as for the lists. */
extern "C" __global__ void __launch_bounds__(kListThreads) attend_overlap_sm90(const __grid_constant__ AttendTilesParams params) {
  extern __shared__ __align__(16) uint32_t overlapShared[];
  __shared__ int warpTotals[kListThreads / 32];
  const Rules& rules = params.rules;
  const int item = static_cast<int>(static_cast<int64_t>(blockIdx.x) * params.tiles * rules.kvHeads / params.samples);
  const AttendTile tile = attendTile(params.sequences, rules, kRows * rules.kvHeads / rules.heads, item % params.tiles);
  int saved = 0;
  if (tile.first < tile.end && tile.sequence >= 0) {
    const TileChoices chosen(params, tile, item / params.tiles);
    const RankedBlocks ranked(params, chosen, overlapShared);
    const int total = ranked.collect(0, 0, rules.topK, warpTotals);
    for (int at = threadIdx.x; at < total; at += kListThreads) saved += max(ranked.excess(at, params), 0);
    if (threadIdx.x == 0) saved -= params.passUnits * 128;
  }
  int excess;
  sumBefore(saved, warpTotals, excess);
  if (threadIdx.x == 0) params.excess[blockIdx.x] = excess;
}

/** One thread block an item. */
extern "C" __global__ void __launch_bounds__(kListThreads) attend_lists_sm90(const __grid_constant__ AttendTilesParams params) {
  extern __shared__ __align__(16) uint32_t listShared[];
  __shared__ int warpTotals[kListThreads / 32];
  const Sequences& sequences = params.sequences;
  const Rules& rules = params.rules;
  const int thread = threadIdx.x;
  const int kvHead = blockIdx.y;
  const int item = kvHead * params.tiles + blockIdx.x;
  const int size = kRows * rules.kvHeads / rules.heads;
  const int words = params.words;
  if (thread == 0 && blockIdx.x == 0) params.next[kvHead] = 0;
  bool leaves = false;
  if (params.excess) {
    int excess = 0;
    for (int sample = thread; sample < params.samples; sample += kListThreads) excess += params.excess[sample];
    int sum;
    sumBefore(excess, warpTotals, sum);
    leaves = sum > 0;
    if (thread == 0 && item == 0) *params.wanted = leaves;
  }
  const AttendTile tile = attendTile(sequences, rules, size, params.firstTile + blockIdx.x);
  if (tile.first >= tile.end || tile.sequence < 0) return;
  const int rows = tile.end - tile.first;
  const TileChoices chosen(params, tile, kvHead);
  const RankedBlocks ranked(params, chosen, listShared);
  int* blocks = ranked.blocks;
  uint32_t* masks = ranked.masks;
  const int total = ranked.collect(tile.firstBlock, tile.endBlock, rules.topK, warpTotals);

  // Forced blocks stay; of what is left out `blocks` has the complement.
  if (leaves) {
    for (int at = thread; at < total; at += kListThreads) {
      if (blocks[at] < tile.firstBlock && ranked.excess(at, params) > 0) blocks[at] = ~blocks[at];
    }
    __syncthreads();
    if (thread < rows) {
      const int* row = chosen.selected + thread * rules.topK;
      int* left = params.left + (row - params.selected);
      const int slots = chosen.entries > 0 ? rules.topK : 0;
      int count = 0;
#pragma unroll 4
      for (int slot = 0; slot < slots; slot++) {
        const uint32_t block = row[slot] - chosen.start;
        if (block < chosen.range && blocks[ranked.rank(block)] < 0) left[count++] = chosen.start + block;
      }
      params.leftCounts[static_cast<int64_t>(kvHead) * sequences.queryTokens + tile.first + thread] = count;
      for (; count < rules.topK; count++) left[count] = -1;
    }
  }
  for (int t = tile.firstBlock + thread; t < tile.endBlock; t += kListThreads) {
    const int at = ranked.rank(t - tile.initBlocks);
    const int start = max(t * rules.blockSize - tile.position, 0);
    const int end = min((t + rules.localBlocks) * rules.blockSize - tile.position, rows);
    for (int word = 0; word < words; word++) masks[at * words + word] |= bitsOf(word, start, end);
  }
  __syncthreads();

  // Which of the warpgroups' halves see each block: those of the first alone, of both, of the second alone, in this order.
  enum Half { kFirst, kBoth, kSecond, kLeft };
  const int rankShare = (total + kListThreads - 1) / kListThreads;
  const int rankStart = min(thread * rankShare, total);
  const int rankEnd = min(rankStart + rankShare, total);
  const uint32_t firstBits = words > 1 ? ~0u : (1u << size / 2) - 1;
  const auto halves = [&](int at) {
    if (blocks[at] < 0) return kLeft;
    uint32_t first = 0;
    uint32_t second = words > 1 ? 0 : masks[at] & ~firstBits;
    for (int word = 0; word < (words + 1) / 2; word++) first |= masks[at * words + word] & firstBits;
    for (int word = (words + 1) / 2; word < words; word++) second |= masks[at * words + word];
    return first == 0 ? kSecond : second == 0 ? kFirst : kBoth;
  };
  int alone = 0;
  int shared = 0;
  for (int at = rankStart; at < rankEnd; at++) {
    const Half half = halves(at);
    alone += half == kFirst ? 1 : half == kSecond ? 1 << 16 : 0;
    shared += half == kBoth;
  }
  int allAlone;
  int allShared;
  const int aloneBefore = sumBefore(alone, warpTotals, allAlone);
  const int sharedBefore = sumBefore(shared, warpTotals, allShared);
  const int blockUnits = rules.blockSize / kUnit;
  const int initUnits = ceilUnits(tile.initEnd - tile.initSteps * kStepKeys);
  const int fullUnits = initUnits + (tile.windowFull - tile.windowStart) / kUnit;
  const int firstUnits = (allAlone & 0xffff) * blockUnits;
  const int secondUnits = (allAlone >> 16) * blockUnits;
  const int count = fullUnits + firstUnits + secondUnits + allShared * blockUnits;
  const int steps = (count + kStepUnits - 1) / kStepUnits;
  int* units = params.units + static_cast<int64_t>(item) * params.capacity;
  int* listMasks = params.masks + static_cast<int64_t>(item) * params.capacity * words;
  const auto place = [&](int index, int unit, const uint32_t* mask, uint32_t otherwise) {
    units[index] = unit;
    const int at = index / kStepUnits * words * kStepUnits + index % kStepUnits;
    for (int word = 0; word < words; word++) listMasks[at + word * kStepUnits] = mask ? mask[word] : otherwise;
  };
  int next[3] = {(aloneBefore & 0xffff) * blockUnits, firstUnits + fullUnits + sharedBefore * blockUnits,
                 count - secondUnits + (aloneBefore >> 16) * blockUnits};
  for (int at = rankStart; at < rankEnd; at++) {
    const Half half = halves(at);
    if (half == kLeft) continue;
    const int index = half == kFirst ? next[kFirst] : half == kBoth ? next[kBoth] : next[kSecond];
    for (int unit = 0; unit < blockUnits; unit++) place(index + unit, blocks[at] * blockUnits + unit, masks + at * words, 0);
#pragma unroll
    for (int i = 0; i < 3; i++) next[i] += half == i ? blockUnits : 0;
  }
  for (int unit = thread; unit < fullUnits; unit += kListThreads) {
    place(firstUnits + unit, unit < initUnits ? tile.initSteps * kStepUnits + unit : tile.windowStart / kUnit + unit - initUnits, nullptr, ~0u);
  }
  for (int index = count + thread; index < steps * kStepUnits; index += kListThreads) place(index, kNoUnit, nullptr, 0);
  if (thread == 0) params.counts[item] = count;
}
