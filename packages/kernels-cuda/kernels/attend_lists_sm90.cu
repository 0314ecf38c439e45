// attend_lists_sm90.cu: for each tile of attend_sm90.cu the list of the keys that its queries see outside its ranges (spec 5): the union of the selected
// blocks, the forced blocks that not all queries see, and what the ranges leave over. Blocks of 16, 32 and 64 tokens.
//
// A list has units of 16 keys, first those that only the first warpgroup's queries see, then those of both, then those of the second alone, filled up to
// whole steps; of each unit a bit for every query that sees it. Before the lists, attend_overlap_sm90 looks at some tiles: where neighbours choose so
// differently that the unions cost more than the choices by themselves, selected blocks are left out of all lists, for attend_selected.
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

  /** Sets the bit of each selected block; the choices that this thread saw. */
  PHSA_DEVICE int mark(uint32_t* bitmap) const {
    int choices = 0;
    for (int entry = threadIdx.x; entry < entries; entry += kListThreads) {
      const uint32_t block = selected[entry] - start;
      if (block >= range) continue;
      atomicOr(bitmap + (block >> 5), 1u << (block & 31));
      choices++;
    }
    return choices;
  }
};

/** Looks at a few items spread over all: whether the unions of what their queries selected are long for so many choices. Shared memory: a bitmap. */
extern "C" __global__ void __launch_bounds__(kListThreads) attend_overlap_sm90(const __grid_constant__ AttendTilesParams params) {
  extern __shared__ __align__(16) uint32_t overlapShared[];
  __shared__ int warpTotals[kListThreads / 32];
  const Rules& rules = params.rules;
  const int thread = threadIdx.x;
  const int item = static_cast<int>(static_cast<int64_t>(blockIdx.x) * params.tiles * rules.kvHeads / params.samples);
  const int group = rules.heads / rules.kvHeads;
  const AttendTile tile = attendTile(params.sequences, rules, kRows / group, item % params.tiles);
  const bool isEmpty = tile.first >= tile.end || tile.sequence < 0;
  int units = 0;
  int choices = 0;
  if (!isEmpty) {
    const TileChoices chosen(params, tile, item / params.tiles);
    const int bitWords = (chosen.range + 31) / 32;
    for (int word = thread; word < bitWords; word += kListThreads) overlapShared[word] = 0;
    __syncthreads();
    choices = chosen.mark(overlapShared);
    __syncthreads();
    for (int word = thread; word < bitWords; word += kListThreads) units += __popc(overlapShared[word]) * (rules.blockSize / kUnit);
  }
  int excess;
  sumBefore(units * 128 - choices * group * params.unitsLimit, warpTotals, excess);
  if (thread == 0) params.excess[blockIdx.x] = excess;
}

/**
 * One thread block an item: marks the blocks in a bitmap, ranks them by counting bits, collects the masks at the ranks. Linear in the tile's
 * choices and in 1/32 of the blocks. Shared memory: two words for 32 blocks, 1 + `words` for each block of the list.
 */
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
  if (thread == 0 && item == 0) *params.next = 0;
  bool forcedOnly = false;
  if (params.excess) {
    int excess = 0;
    for (int sample = thread; sample < params.samples; sample += kListThreads) excess += params.excess[sample];
    int sum;
    sumBefore(excess, warpTotals, sum);
    forcedOnly = sum > 0;
    if (thread == 0 && item == 0) *params.wanted = forcedOnly;
  }
  const AttendTile tile = attendTile(sequences, rules, size, params.firstTile + blockIdx.x);
  if (tile.first >= tile.end || tile.sequence < 0) return;
  const int rows = tile.end - tile.first;
  TileChoices chosen(params, tile, kvHead);
  if (forcedOnly) chosen.entries = 0;
  const float rowsPerEntry = 1.0f / max(rules.topK, 1);
  const uint32_t range = chosen.range;
  const int bitWords = (range + 31) / 32;
  uint32_t* bitmap = listShared;
  int* before = reinterpret_cast<int*>(listShared + bitWords);
  int* blocks = reinterpret_cast<int*>(listShared + 2 * bitWords);
  uint32_t* masks = listShared + 2 * bitWords + params.listBlocks;

  for (int word = thread; word < bitWords; word += kListThreads) bitmap[word] = 0;
  __syncthreads();
  chosen.mark(bitmap);
  for (int t = tile.firstBlock + thread; t < tile.endBlock; t += kListThreads) {
    const int block = t - tile.initBlocks;
    atomicOr(bitmap + (block >> 5), 1u << (block & 31));
  }
  __syncthreads();

  const int share = (bitWords + kListThreads - 1) / kListThreads;
  const int wordStart = min(thread * share, bitWords);
  const int wordEnd = min(wordStart + share, bitWords);
  int mine = 0;
  for (int word = wordStart; word < wordEnd; word++) mine += __popc(bitmap[word]);
  int total;
  int rank = sumBefore(mine, warpTotals, total);
  for (int word = wordStart; word < wordEnd; word++) {
    before[word] = rank;
    for (uint32_t bits = bitmap[word]; bits != 0; bits &= bits - 1) blocks[rank++] = tile.initBlocks + word * 32 + __ffs(bits) - 1;
  }
  for (int word = thread; word < total * words; word += kListThreads) masks[word] = 0;
  __syncthreads();

  for (int entry = thread; entry < chosen.entries; entry += kListThreads) {
    const uint32_t block = chosen.selected[entry] - tile.initBlocks;
    if (block >= range) continue;
    const int row = static_cast<int>((entry + 0.5f) * rowsPerEntry);
    const int at = before[block >> 5] + __popc(bitmap[block >> 5] & ((1u << (block & 31)) - 1));
    atomicOr(masks + at * words + (row >> 5), 1u << (row & 31));
  }
  for (int t = tile.firstBlock + thread; t < tile.endBlock; t += kListThreads) {
    const int block = t - tile.initBlocks;
    const int at = before[block >> 5] + __popc(bitmap[block >> 5] & ((1u << (block & 31)) - 1));
    const int start = max(t * rules.blockSize - tile.position, 0);
    const int end = min((t + rules.localBlocks) * rules.blockSize - tile.position, rows);
    for (int row = start; row < end; row++) atomicOr(masks + at * words + (row >> 5), 1u << (row & 31));
  }
  __syncthreads();

  // Which of the warpgroups' halves see each block: those of the first alone, of both, of the second alone, in this order.
  const int rankShare = (total + kListThreads - 1) / kListThreads;
  const int rankStart = min(thread * rankShare, total);
  const int rankEnd = min(rankStart + rankShare, total);
  const uint32_t firstBits = words > 1 ? ~0u : (1u << size / 2) - 1;
  const auto halves = [&](int at) {
    uint32_t first = 0;
    uint32_t second = words > 1 ? 0 : masks[at] & ~firstBits;
    for (int word = 0; word < (words + 1) / 2; word++) first |= masks[at * words + word] & firstBits;
    for (int word = (words + 1) / 2; word < words; word++) second |= masks[at * words + word];
    return first == 0 ? 2 : second == 0 ? 0 : 1;
  };
  int alone = 0;
  for (int at = rankStart; at < rankEnd; at++) alone += halves(at) == 0 ? 1 : halves(at) == 2 ? 1 << 16 : 0;
  int allAlone;
  const int aloneBefore = sumBefore(alone, warpTotals, allAlone);
  const int blockUnits = rules.blockSize / kUnit;
  const int initUnits = ceilUnits(tile.initEnd - tile.initSteps * kStepKeys);
  const int fullUnits = initUnits + (tile.windowFull - tile.windowStart) / kUnit;
  const int firstUnits = (allAlone & 0xffff) * blockUnits;
  const int secondUnits = (allAlone >> 16) * blockUnits;
  const int count = fullUnits + total * blockUnits;
  const int steps = (count + kStepUnits - 1) / kStepUnits;
  int* units = params.units + static_cast<int64_t>(item) * params.capacity;
  int* listMasks = params.masks + static_cast<int64_t>(item) * params.capacity * words;
  const auto place = [&](int index, int unit, const uint32_t* mask, uint32_t otherwise) {
    units[index] = unit;
    const int at = index / kStepUnits * words * kStepUnits + index % kStepUnits;
    for (int word = 0; word < words; word++) listMasks[at + word * kStepUnits] = mask ? mask[word] : otherwise;
  };
  int firstAt = (aloneBefore & 0xffff) * blockUnits;
  int secondAt = count - secondUnits + (aloneBefore >> 16) * blockUnits;
  int bothAt = firstUnits + fullUnits + rankStart * blockUnits - firstAt - (aloneBefore >> 16) * blockUnits;
  for (int at = rankStart; at < rankEnd; at++) {
    const int half = halves(at);
    const int index = half == 0 ? firstAt : half == 1 ? bothAt : secondAt;
    for (int unit = 0; unit < blockUnits; unit++) place(index + unit, blocks[at] * blockUnits + unit, masks + at * words, 0);
    firstAt += half == 0 ? blockUnits : 0;
    bothAt += half == 1 ? blockUnits : 0;
    secondAt += half == 2 ? blockUnits : 0;
  }
  for (int unit = thread; unit < fullUnits; unit += kListThreads) {
    place(firstUnits + unit, unit < initUnits ? tile.initSteps * kStepUnits + unit : tile.windowStart / kUnit + unit - initUnits, nullptr, ~0u);
  }
  for (int index = count + thread; index < steps * kStepUnits; index += kListThreads) place(index, kNoUnit, nullptr, 0);
  if (thread == 0) params.counts[item] = count;
}
