// attend_sm90.cu: attention over forced and selected blocks (spec 5) on Hopper's tensor cores, packed, bf16, D 128, m 16, 32 and 64.
//
// A tile is 128 rows: 128 / G neighbouring queries of one sequence with the G heads of a KV head. It works through the union of the keys that its
// queries see, 128 at a time: what all of them see (first tokens, the common part of their windows) as ranges, everything else from a list of
// units of 16 keys, each with a bit for every query that sees it, which attend_lists_sm90 makes. One warpgroup loads, two compute 64 rows each and
// pass over keys that none of their queries sees. While the values of one step are multiplied, the next step's scores turn into probabilities.
// Tiles are handed out by a counter, and loads run ahead into the next tile.
// Numerics: scores, sums and outputs in f32, probabilities rounded to bf16, online softmax in base 2 whose reference follows the maximum only where
// that grows by more than 2^8. Bound: the products, 4 D a key of the union and row, and reading that union from L2 once a tile.
#include "hopper.cuh"
#include "sequences.cuh"
#include "wgmma.cuh"

struct AttendTilesParams {
  const void* q;        // [Tq, Hq, 128]
  const void* k;        // [Tk, Hkv, 128]
  const void* v;
  const int* selected;  // [Hkv, Tq, topK]
  void* out;            // [Tq, Hq, 128]
  float* lse;           // [Tq, Hq]
  int* units;           // [items, capacity]: first key / 16
  int* masks;           // [items, capacity / 8, words, 8]: bit for each query
  int* counts;          // [items], units of each list
  int* next;            // the counter
  int* excess;          // [samples], of attend_overlap_sm90; null: nothing is left out
  int* wanted;          // 1 where selected blocks are left to attend_selected
  Sequences sequences;
  Rules rules;
  int firstTile;
  int tiles;     // of this launch; items are tiles * Hkv
  int capacity;  // of a list, a multiple of 8
  int words;     // of a mask: max(1, 4 / G)
  int listBlocks;  // blocks of a list at most
  int samples;
  int unitsLimit;  // units of a union for 128 (query head, choice) pairs, from which on they are too many
};

constexpr int kHeadDim = 128;
constexpr int kRows = 128;
constexpr int kStepKeys = 128;
constexpr int kUnit = 16;
constexpr int kStepUnits = kStepKeys / kUnit;
constexpr int kNoUnit = 0x07ffffff;  // its keys lie past every end

/** Neighbouring queries of one sequence, either all dense or none, and the keys that all of them see up to causality. */
struct AttendTile {
  int sequence;  // -1 for rows that belong to none
  int first;
  int end;
  int position;     // of the first query
  int keyEnd;       // position of the last query + 1
  int initSteps;    // steps from key 0 on
  int initEnd;      // the rest of the init keys is in the list
  int windowStart;  // the common part of the windows: its first units are in the list,
  int windowFull;   // and from here on it is worked in whole steps
  int windowSteps;
  int initBlocks;
  int firstBlock;  // of the forced blocks that not all queries see,
  int endBlock;    // and past the last; selected blocks lie below it
};

/** Tile `index`: those of sequence s are from starts[s] / size + 2 s on, as many as it can need; total / size + 2 S + 1 in all, some empty. */
PHSA_DEVICE AttendTile attendTile(const Sequences& sequences, const Rules& rules, int size, int index) {
  const int* starts = sequences.queryStarts;
  int low = 0;
  int high = sequences.sequences;
  while (low < high) {
    const int middle = (low + high + 1) / 2;
    if (starts[middle] / size + 2 * middle <= index) {
      low = middle;
    } else {
      high = middle - 1;
    }
  }
  AttendTile tile = {};
  const int start = starts[low];
  const int offset = index - start / size - 2 * low;
  if (low == sequences.sequences) {
    tile.sequence = -1;
    tile.first = start + offset * size;
    tile.end = min(tile.first + size, sequences.queryTokens);
    return tile;
  }
  const int end = starts[low + 1];
  const int position = firstPosition(sequences, low);
  const int dense = max(0, min(rules.denseBelow - position, end - start));
  const int denseTiles = (dense + size - 1) / size;
  const bool isDense = offset < denseTiles;
  tile.sequence = low;
  tile.first = isDense ? start + offset * size : start + dense + (offset - denseTiles) * size;
  tile.end = min(tile.first + size, isDense ? start + dense : end);
  tile.position = position + tile.first - start;
  tile.keyEnd = position + tile.end - start;
  const int m = rules.blockSize;
  const int last = tile.keyEnd - 1;
  if (!isDense) {
    tile.initEnd = min(rules.initBlocks * m, tile.keyEnd);
    tile.windowStart = max((last / m - rules.localBlocks + 1) * m, tile.initEnd);
    tile.firstBlock = max(tile.position / m - rules.localBlocks + 1, rules.initBlocks);
    tile.endBlock = tile.windowStart / m;
  }
  tile.initSteps = tile.initEnd / kStepKeys;
  const int windowUnits = (tile.keyEnd - tile.windowStart + kUnit - 1) / kUnit;
  tile.windowSteps = windowUnits / kStepUnits;
  tile.windowFull = tile.windowStart + windowUnits % kStepUnits * kUnit;
  tile.initBlocks = rules.initBlocks;
  return tile;
}

PHSA_DEVICE int ceilUnits(int keys) { return (keys + kUnit - 1) / kUnit; }

// Lists

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

/** Blocks that a tile's queries may have selected, `start` up to, not including, `end`, and where their choices lie. */
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

// Attention

constexpr int kStages = 3;
constexpr int kConsumers = 2;
constexpr int kAttendThreads = 128 * (1 + kConsumers);
constexpr int kRowBytes = 256;
constexpr int kQueryBytes = kRows * kRowBytes;
constexpr int kStepBytes = kStepKeys * kRowBytes;
constexpr int kMostWords = 4;
constexpr float kLog2e = 1.4426950408889634f;
/** Sum of a lane's 32 probabilities of a row and step from which on the reference is raised. */
constexpr float kMostAdded = 65536.0f;

/** What the computing warpgroups need to know of an item. */
struct AttendItem {
  int steps;  // -1: there is no more
  int listStart;
  int windowStep;
  int windowFull;
  int first;
  int rows;
  int position;
  int kvHead;
  int listIsCausal;
};

struct alignas(16) AttendShared {
  int units[kStages][kStepUnits];
  uint32_t masks[kStages][kMostWords][kStepUnits];
  AttendItem items[2];  // by turns: the one before is read until its rows are stored
  int next;
  uint64_t queryFull;
  uint64_t queryEmpty;
  uint64_t keysFull[kStages];
  uint64_t keysEmpty[kStages];
  uint64_t valuesFull[kStages];
  uint64_t valuesEmpty[kStages];
};

/** Arrives once this thread's copies up to now have been written. */
PHSA_DEVICE void arriveAfterCopies(uint32_t barrier) {
  asm volatile("cp.async.mbarrier.arrive.noinc.shared::cta.b64 [%0];\n" ::"r"(barrier) : "memory");
}

PHSA_DEVICE void prefetchLine(const void* source) { asm volatile("prefetch.global.L2 [%0];\n" ::"l"(source)); }

/** Stage and phase of a ring. */
struct Ring {
  int stage = 0;
  int phase = 0;

  PHSA_DEVICE void step() {
    if (++stage == kStages) {
      stage = 0;
      phase ^= 1;
    }
  }
};

template <int G>
PHSA_DEVICE void loadTiles(const AttendTilesParams& params, AttendShared& shared, uint32_t queryBytes, uint32_t keyBytes, uint32_t valueBytes) {
  constexpr int kWords = G < 4 ? 4 / G : 1;
  const Sequences& sequences = params.sequences;
  const Rules& rules = params.rules;
  const int thread = threadIdx.x;
  const int lane = thread & 31;
  const int chunk = thread & 15;
  const int rowOfThread = thread >> 4;
  const int items = params.tiles * rules.kvHeads;
  const char* q = static_cast<const char*>(params.q);
  const char* k = static_cast<const char*>(params.k) + chunk * 16;
  const char* v = static_cast<const char*>(params.v) + chunk * 16;
  const uint32_t target = operandOffset(rowOfThread, chunk, kStepKeys);
  Ring ring;
  int queryPhase = 0;
  int upcoming = thread == 0 ? atomicAdd(params.next, 1) : 0;
  while (true) {
    if (thread == 0) {
      shared.next = upcoming;
      upcoming = atomicAdd(params.next, 1);
    }
    syncThreads(1, 128);
    const int index = shared.next;
    syncThreads(1, 128);
    if (index >= items) break;
    const int kvHead = index / params.tiles;
    const int tileIndex = params.tiles - 1 - index % params.tiles;
    const AttendTile tile = attendTile(sequences, rules, kRows / G, params.firstTile + tileIndex);
    if (tile.first >= tile.end) continue;
    const int item = kvHead * params.tiles + tileIndex;
    const bool hasKeys = tile.sequence >= 0;
    const int count = hasKeys ? params.counts[item] : 0;
    const int listStart = tile.initSteps + tile.windowSteps;
    const int steps = hasKeys ? listStart + (count + kStepUnits - 1) / kStepUnits : 0;
    const int64_t firstKey = hasKeys ? sequences.keyStarts[tile.sequence] : 0;
    const int64_t keyStride = static_cast<int64_t>(rules.kvHeads) * kRowBytes;
    const int64_t start = firstKey * keyStride + kvHead * kRowBytes + rowOfThread * keyStride;
    const char* tileK = k + start;
    const char* tileV = v + start;
    const uint32_t unitStride = kUnit * rules.kvHeads * kRowBytes;
    const uint32_t halfStride = unitStride / 2;
    const int wholeUnits = tile.keyEnd / kUnit;
    const int* units = params.units + static_cast<int64_t>(item) * params.capacity;
    const int* masks = params.masks + static_cast<int64_t>(item) * params.capacity * kWords;
    // Row `thread` of q: two lines.
    if (tile.first + thread / G < tile.end) {
      const char* source = q + (static_cast<int64_t>(tile.first + thread / G) * rules.heads + kvHead * G + thread % G) * kRowBytes;
      prefetchLine(source);
      prefetchLine(source + 128);
    }
    const auto loadQueries = [&] {
      waitForPhase(sharedAddress(&shared.queryEmpty), queryPhase ^ 1);
      if (thread == 0) {
        const int listEnd = max(tile.windowFull, ceilUnits(tile.initEnd) * kUnit);
        const int rows = tile.end - tile.first;
        shared.items[queryPhase] =
            AttendItem{steps, listStart, tile.initSteps, tile.windowFull, tile.first, rows, tile.position, kvHead, listEnd > tile.position + 1};
        arrive(sharedAddress(&shared.queryFull));
      }
      queryPhase ^= 1;
#pragma unroll 4
      for (int i = 0; i < kRows / 8; i++) {
        const int row = rowOfThread + 8 * i;
        const int query = tile.first + row / G;
        const bool valid = query < tile.end;
        const int64_t source = (static_cast<int64_t>(valid ? query : tile.first) * rules.heads + kvHead * G + row % G) * kRowBytes + chunk * 16;
        copyAsync16(queryBytes + (row >> 6) * (kQueryBytes / 2) + operandOffset(row & 63, chunk, 64), q + source, valid);
      }
      arriveAfterCopies(sharedAddress(&shared.queryFull));
    };
    const auto unitOf = [&](int step) {
      if (step >= listStart) return step < steps ? units[(step - listStart) * kStepUnits + (lane & 7)] : 0;
      const int key = step < tile.initSteps ? step * kStepKeys : tile.windowFull + (step - tile.initSteps) * kStepKeys;
      return key / kUnit + (lane & 7);
    };
    if (steps == 0) loadQueries();
    int nextUnit = unitOf(0);
    for (int step = 0; step < steps; step++, ring.step()) {
      const int laneUnit = nextUnit;
      nextUnit = unitOf(step + 1);
      const uint32_t stageBytes = target + ring.stage * kStepBytes;
      waitForPhase(sharedAddress(&shared.keysEmpty[ring.stage]), ring.phase ^ 1);
      if (step >= listStart && thread < 2 + 2 * kWords) {
        const int listStep = step - listStart;
        if (thread < 2) {
          copyAsync16(sharedAddress(&shared.units[ring.stage][4 * thread]), units + listStep * kStepUnits + 4 * thread, true);
        } else {
          copyAsync16(sharedAddress(&shared.masks[ring.stage][0][4 * (thread - 2)]), masks + listStep * kStepUnits * kWords + 4 * (thread - 2), true);
        }
      }
      int stepUnits[kStepUnits];
#pragma unroll
      for (int i = 0; i < kStepUnits; i++) stepUnits[i] = __shfl_sync(~0u, laneUnit, i);
      const bool whole = __all_sync(~0u, laneUnit < wholeUnits);
      const auto loadRows = [&](const char* source, uint32_t bytes) {
        if (whole) {
#pragma unroll
          for (int i = 0; i < kStepUnits; i++) {
            const char* row = source + static_cast<uint64_t>(static_cast<uint32_t>(stepUnits[i])) * unitStride;
            copyAsync16(bytes + i * 2048, row, true);
            copyAsync16(bytes + i * 2048 + 1024, row + halfStride, true);
          }
        } else {
#pragma unroll
          for (int i = 0; i < kStepUnits; i++) {
            const int key = stepUnits[i] * kUnit + rowOfThread;
            const bool valid0 = key < tile.keyEnd;
            const bool valid1 = key + 8 < tile.keyEnd;
            const char* row = source + (valid0 ? static_cast<uint64_t>(static_cast<uint32_t>(stepUnits[i])) * unitStride : 0);
            copyAsync16(bytes + i * 2048, valid0 ? row : k, valid0);
            copyAsync16(bytes + i * 2048 + 1024, valid1 ? row + halfStride : k, valid1);
          }
        }
      };
      loadRows(tileK, keyBytes + stageBytes);
      arriveAfterCopies(sharedAddress(&shared.keysFull[ring.stage]));
      waitForPhase(sharedAddress(&shared.valuesEmpty[ring.stage]), ring.phase ^ 1);
      loadRows(tileV, valueBytes + stageBytes);
      arriveAfterCopies(sharedAddress(&shared.valuesFull[ring.stage]));
      if (step == 0) loadQueries();
    }
  }
  waitForPhase(sharedAddress(&shared.queryEmpty), queryPhase ^ 1);
  if (thread == 0) {
    shared.items[queryPhase].steps = -1;
    arrive(sharedAddress(&shared.queryFull));
  }
  arrive(sharedAddress(&shared.queryFull));
}

/** Low words of the descriptors of operands, 16 bytes a unit, to which steps along K are added; the high word is the same for all. */
PHSA_DEVICE uint32_t rowOperand(uint32_t bytes) { return bytes >> 4 | 1 << 16; }
PHSA_DEVICE uint32_t columnOperand(uint32_t bytes) { return bytes >> 4 | (kStepKeys * 128 >> 4) << 16; }
PHSA_DEVICE uint64_t operand(uint32_t low) { return static_cast<uint64_t>(1024 >> 4 | 1 << 30) << 32 | low; }

/** scores = queries keys^T of a step */
PHSA_DEVICE void multiplyKeys(float (&scores)[64], uint32_t queries, uint32_t keys) {
  const uint32_t a = rowOperand(queries);
  const uint32_t b = rowOperand(keys);
#pragma unroll
  for (int i = 0; i < kHeadDim / 16; i++) {
    wgmma<0, 0>(scores, operand(a + ((i >> 2) * 64 * 128 + (i & 3) * 32) / 16), operand(b + ((i >> 2) * kStepKeys * 128 + (i & 3) * 32) / 16), i > 0);
  }
  wgmmaCommit();
}

/** sums += probabilities values of a step */
PHSA_DEVICE void multiplyValues(float (&sums)[64], const uint32_t (&probabilities)[8][4], uint32_t values) {
  const uint32_t b = columnOperand(values);
#pragma unroll
  for (int i = 0; i < kStepKeys / 16; i++) wgmma<1>(sums, probabilities[i], operand(b + 2048 * i / 16), 1);
  wgmmaCommit();
}

/** The scores of this warp's 16 rows once more, for where they were given up too early. */
PHSA_DEVICE void multiplyKeysAgain(float (&scores)[64], uint32_t queries, uint32_t keys) {
  const int lane = threadIdx.x & 31;
  const int firstRow = (threadIdx.x >> 5 & 3) * 16;
#pragma unroll
  for (int e = 0; e < 64; e++) scores[e] = 0.0f;
#pragma unroll 1
  for (int i = 0; i < kHeadDim / 16; i++) {
    uint32_t a[4];
    loadMatrix(a, queries + operandOffset(firstRow + (lane & 15), 2 * i + (lane >> 4), 64));
#pragma unroll
    for (int unit = 0; unit < kStepUnits; unit++) {
      uint32_t b[4];
      loadMatrix(b, keys + operandOffset(unit * kUnit + (lane & 7) + (lane >> 4) * 8, 2 * i + (lane >> 3 & 1), kStepKeys));
#pragma unroll
      for (int part = 0; part < 2; part++) {
        const int e = 8 * unit + 4 * part;
        float d[4] = {scores[e], scores[e + 1], scores[e + 2], scores[e + 3]};
        mma(d, a, b[2 * part], b[2 * part + 1]);
#pragma unroll
        for (int j = 0; j < 4; j++) scores[e + j] = d[j];
      }
    }
  }
}

template <int G>
struct Consumer {
  static constexpr int kWords = G < 4 ? 4 / G : 1;
  static constexpr int kQueries = 64 / G;  // of a warpgroup

  AttendShared& shared;
  float factor;
  int group;  // 0 or 1
  int row;    // of this lane's first row, within 64; the second is 8 further
  uint32_t bit[2];
  const AttendItem* item;
  int steps;
  int listStart;
  int groupPosition;
  float top[2];
  float total[2];
  uint32_t stepMasks[kStepUnits];
  bool stepIsList;
  int stepKey;

  PHSA_DEVICE void startItem(int index) {
    item = &shared.items[index];
    steps = item->steps;
    listStart = item->listStart;
    groupPosition = item->position + group * kQueries;
#pragma unroll
    for (int half = 0; half < 2; half++) {
      bit[half] = 1u << ((64 * group + row + 8 * half) / G & 31);
      top[half] = -INFINITY;
      total[half] = 0.0f;
    }
  }

  /** Reads what there is to know of a step whose keys have arrived. False where none of this warpgroup's queries sees any of them. */
  PHSA_DEVICE bool openStep(int step, int stage) {
    stepIsList = step >= listStart;
    if (!stepIsList) {
      stepKey = step < item->windowStep ? step * kStepKeys : item->windowFull + (step - item->windowStep) * kStepKeys;
#pragma unroll
      for (int unit = 0; unit < kStepUnits; unit++) stepMasks[unit] = ~0u;
      return stepKey < groupPosition + kQueries;
    }
    const int word = G == 1 ? 2 * group + (row >> 5) : G == 2 ? group : 0;
    uint32_t any = 0;
#pragma unroll
    for (int unit = 0; unit < kStepUnits; unit++) {
      stepMasks[unit] = shared.masks[stage][word][unit];
      any |= stepMasks[unit];
      if (G == 1) any |= shared.masks[stage][word ^ 1][unit];
    }
    if constexpr (G > 2) any &= ((1u << kQueries) - 1) << (group * kQueries);
    return any != 0;
  }

  /** Takes away keys behind a query, where there may be some. */
  PHSA_DEVICE void mask(float (&scores)[64], int stage) {
    if (stepIsList ? !item->listIsCausal : stepKey + kStepKeys <= groupPosition + 1) return;
    const int column = (threadIdx.x & 3) * 2;
    const int position[2] = {groupPosition + row / G, groupPosition + (row + 8) / G};
#pragma unroll
    for (int e = 0; e < 64; e++) {
      const int start = stepIsList ? shared.units[stage][e >> 3] * kUnit + (e >> 2 & 1) * 8 : stepKey + (e >> 2) * 8;
      if (start + column + (e & 1) > position[e >> 1 & 1]) scores[e] = -INFINITY;
    }
  }

  /** Raises `top` to the largest visible score; sums so far are to be multiplied by `keep`. */
  PHSA_DEVICE void raise(const float (&scores)[64], float (&keep)[2]) {
#pragma unroll
    for (int half = 0; half < 2; half++) {
      float most = -INFINITY;
#pragma unroll
      for (int unit = 0; unit < kStepUnits; unit++) {
        const int e = 8 * unit + 2 * half;
        const float largest = fmaxf(fmaxf(scores[e], scores[e + 1]), fmaxf(scores[e + 4], scores[e + 5]));
        most = fmaxf(most, stepMasks[unit] & bit[half] ? largest : -INFINITY);
      }
      most = fmaxf(most, __shfl_xor_sync(~0u, most, 1));
      most = fmaxf(most, __shfl_xor_sync(~0u, most, 2)) * factor;
      const float both = fmaxf(most, top[half]);
      keep[half] = both == -INFINITY ? 1.0f : exp2Fast(top[half] - both);
      top[half] = both;
      total[half] *= keep[half];
    }
  }

  /** Scores become probabilities relative to 2^top; `added` is their sum. A row that has seen no key yet has a top of -inf: infinite where it sees one now. */
  template <bool Masked>
  PHSA_DEVICE void soften(float (&scores)[64], float (&added)[2]) {
    float sum[2][2] = {};
#pragma unroll
    for (int unit = 0; unit < kStepUnits; unit++) {
#pragma unroll
      for (int half = 0; half < 2; half++) {
        const float offset = !Masked || stepMasks[unit] & bit[half] ? -top[half] : -INFINITY;
#pragma unroll
        for (int i = 0; i < 4; i++) {
          const int e = 8 * unit + 2 * half + (i & 1) + (i & 2) * 2;
          scores[e] = exp2Fast(fmaf(scores[e], factor, offset));
          sum[half][i & 1] += scores[e];
        }
      }
    }
#pragma unroll
    for (int half = 0; half < 2; half++) added[half] = sum[half][0] + sum[half][1];
  }

  /** The first step of an item: scores become probabilities. */
  PHSA_DEVICE void softenFirst(float (&scores)[64], float (&keep)[2]) {
    raise(scores, keep);
    float added[2];
    softenRaised(scores, added);
#pragma unroll
    for (int half = 0; half < 2; half++) total[half] += added[half];
  }

  /** After raise: rows that see nothing must not become NaN. */
  PHSA_DEVICE void softenRaised(float (&scores)[64], float (&added)[2]) {
    const float kept[2] = {top[0], top[1]};
#pragma unroll
    for (int half = 0; half < 2; half++) top[half] = top[half] == -INFINITY ? 0.0f : top[half];
    soften<true>(scores, added);
#pragma unroll
    for (int half = 0; half < 2; half++) top[half] = kept[half];
  }

  /**
   * Scores become probabilities relative to the top so far. Where these grow too large the scores are computed again and the top is raised:
   * then sums so far must be multiplied by `keep`, and the result is true.
   */
  PHSA_DEVICE bool softenNext(float (&scores)[64], float (&keep)[2], int stage, uint32_t queries, uint32_t keys) {
    float added[2];
    if (stepIsList) {
      soften<true>(scores, added);
    } else {
      soften<false>(scores, added);
    }
    const bool again = __any_sync(~0u, !(added[0] <= kMostAdded && added[1] <= kMostAdded));
    if (again) {
      multiplyKeysAgain(scores, queries, keys);
      mask(scores, stage);
      raise(scores, keep);
      softenRaised(scores, added);
    }
#pragma unroll
    for (int half = 0; half < 2; half++) total[half] += added[half];
    return again;
  }
};

PHSA_DEVICE void packProbabilities(uint32_t (&packed)[8][4], const float (&probabilities)[64]) {
#pragma unroll
  for (int i = 0; i < 8; i++) {
#pragma unroll
    for (int j = 0; j < 4; j++) packed[i][j] = packBf16(probabilities[8 * i + 2 * j], probabilities[8 * i + 2 * j + 1]);
  }
}

/** Word i of lane l becomes word l of lane i, for each four lanes. */
PHSA_DEVICE void transposeQuad(uint32_t (&words)[4], int lane) {
#pragma unroll
  for (int step = 1; step < 4; step *= 2) {
    const bool high = lane & step;
#pragma unroll
    for (int pair = 0; pair < 2; pair++) {
      const int i = step == 1 ? 2 * pair : pair;
      const uint32_t other = __shfl_xor_sync(~0u, high ? words[i] : words[i + step], step);
      if (high) {
        words[i] = other;
      } else {
        words[i + step] = other;
      }
    }
  }
}

/**
 * In steps that both warpgroups work on they issue their products by turns, so that those of one run while the other makes probabilities.
 * Each takes and ends one turn a step.
 */
PHSA_DEVICE void takeTurn(int group) { syncThreads(2 + group, 256); }
PHSA_DEVICE void endTurn(int group) { asm volatile("bar.arrive %0, 256;\n" ::"r"(3 - group) : "memory"); }

template <int G>
PHSA_DEVICE void computeTiles(const AttendTilesParams& params, AttendShared& shared, uint32_t queryBytes, uint32_t keyBytes, uint32_t valueBytes) {
  const int thread = threadIdx.x & 127;
  const int lane = thread & 31;
  const int group = (threadIdx.x >> 7) - 1;
  Consumer<G> consumer{shared, params.rules.scale * kLog2e, group, (thread >> 5) * 16 + (lane >> 2)};
  const uint32_t queries = queryBytes + group * (kQueryBytes / 2);
  const bool speaks = lane == 0;
  if (group == 1) endTurn(group);
  Ring ring;
  int queryPhase = 0;
  while (true) {
    waitForPhase(sharedAddress(&shared.queryFull), queryPhase);
    fenceAsyncProxy();
    consumer.startItem(queryPhase);
    queryPhase ^= 1;
    const int steps = consumer.steps;
    if (steps < 0) break;

    float sums[64];
#pragma unroll
    for (int e = 0; e < 64; e++) sums[e] = 0.0f;
    float scores[64];
    uint32_t probabilities[8][4];
    float keep[2];
    int step = 0;
    bool queriesFree = false;
    // Opens the step of the ring, or passes it over.
    const auto needed = [&] {
      waitForPhase(sharedAddress(&shared.keysFull[ring.stage]), ring.phase);
      if (consumer.openStep(step, ring.stage)) return true;
      if (!consumer.stepIsList) {
        takeTurn(group);
        endTurn(group);
      }
      waitForPhase(sharedAddress(&shared.valuesFull[ring.stage]), ring.phase);
      __syncwarp();
      if (speaks) {
        arrive(sharedAddress(&shared.keysEmpty[ring.stage]));
        arrive(sharedAddress(&shared.valuesEmpty[ring.stage]));
      }
      ring.step();
      step++;
      return false;
    };
    while (true) {
      bool found = false;
      while (step < steps && !found) found = needed();
      if (!found) break;
      fenceAsyncProxy();
      if (!consumer.stepIsList) takeTurn(group);
      wgmmaFence();
      multiplyKeys(scores, queries, keyBytes + ring.stage * kStepBytes);
      if (!consumer.stepIsList) endTurn(group);
      wgmmaWait<0>();
      settle(scores);
      consumer.mask(scores, ring.stage);
      __syncwarp();
      if (speaks) arrive(sharedAddress(&shared.keysEmpty[ring.stage]));
      consumer.softenFirst(scores, keep);
#pragma unroll
      for (int e = 0; e < 64; e++) sums[e] *= keep[e >> 1 & 1];
      packProbabilities(probabilities, scores);
      Ring pending = ring;
      int pendingStep = step;
      ring.step();
      step++;
      while (true) {
        // The values that are still to be multiplied keep their stage: no further than that one.
        found = false;
        while (step < steps && step < pendingStep + kStages && !found) found = needed();
        if (!found) break;
        waitForPhase(sharedAddress(&shared.valuesFull[pending.stage]), pending.phase);
        fenceAsyncProxy();
        if (!consumer.stepIsList) takeTurn(group);
        wgmmaFence();
        multiplyKeys(scores, queries, keyBytes + ring.stage * kStepBytes);
        multiplyValues(sums, probabilities, valueBytes + pending.stage * kStepBytes);
        if (!consumer.stepIsList) endTurn(group);
        wgmmaWait<1>();
        settle(scores);
        consumer.mask(scores, ring.stage);
        const bool rescale = consumer.softenNext(scores, keep, ring.stage, queries, keyBytes + ring.stage * kStepBytes);
        __syncwarp();
        if (speaks) arrive(sharedAddress(&shared.keysEmpty[ring.stage]));
        wgmmaWait<0>();
        settle(sums);
        if (speaks) arrive(sharedAddress(&shared.valuesEmpty[pending.stage]));
        if (rescale) {
#pragma unroll
          for (int e = 0; e < 64; e++) sums[e] *= keep[e >> 1 & 1];
        }
        packProbabilities(probabilities, scores);
        pending = ring;
        pendingStep = step;
        ring.step();
        step++;
      }
      if (step == steps && !queriesFree) {
        queriesFree = true;
        if (speaks) arrive(sharedAddress(&shared.queryEmpty));
      }
      waitForPhase(sharedAddress(&shared.valuesFull[pending.stage]), pending.phase);
      fenceAsyncProxy();
      wgmmaFence();
      multiplyValues(sums, probabilities, valueBytes + pending.stage * kStepBytes);
      wgmmaWait<0>();
      settle(sums);
      if (speaks) arrive(sharedAddress(&shared.valuesEmpty[pending.stage]));
    }
    __syncwarp();
    if (!queriesFree && speaks) arrive(sharedAddress(&shared.queryEmpty));

#pragma unroll
    for (int half = 0; half < 2; half++) {
      float total = consumer.total[half];
      total += __shfl_xor_sync(~0u, total, 1);
      total += __shfl_xor_sync(~0u, total, 2);
      const int row = 64 * group + consumer.row + 8 * half;
      const bool valid = row / G < consumer.item->rows;
      const float share = total > 0.0f ? __frcp_rn(total) : 0.0f;
      const int64_t target = static_cast<int64_t>(consumer.item->first + row / G) * params.rules.heads + consumer.item->kvHead * G + row % G;
      uint4* out = static_cast<uint4*>(params.out) + target * (kHeadDim / 8) + (lane & 3);
#pragma unroll
      for (int part = 0; part < 4; part++) {
        // Word i of lane l of a quad is l of chunk i; wanted is word i of chunk l.
        uint32_t words[4];
#pragma unroll
        for (int i = 0; i < 4; i++) {
          const int e = 4 * (4 * part + i) + 2 * half;
          words[i] = packBf16(sums[e] * share, sums[e + 1] * share);
        }
        transposeQuad(words, lane);
        if (valid) out[4 * part] = uint4{words[0], words[1], words[2], words[3]};
      }
      if (valid && (lane & 3) == 0) params.lse[target] = total > 0.0f ? (consumer.top[half] + __log2f(total)) / kLog2e : -INFINITY;
    }
  }
}

/** Registers of a thread that loads, and of one that computes: together what the launch has. */
constexpr int kLoadRegisters = 40;
constexpr int kComputeRegisters = 232;

template <int G>
PHSA_DEVICE void attendTiles(const AttendTilesParams& params) {
  extern __shared__ unsigned char attendShared[];
  const uint32_t start = sharedAddress(attendShared);
  const uint32_t queryBytes = (start + 1023) & ~1023u;
  const uint32_t keyBytes = queryBytes + kQueryBytes;
  const uint32_t valueBytes = keyBytes + kStages * kStepBytes;
  AttendShared& shared = *reinterpret_cast<AttendShared*>(attendShared + (valueBytes + kStages * kStepBytes - start));
  if (threadIdx.x == 0) {
    initBarrier(sharedAddress(&shared.queryFull), 129);
    initBarrier(sharedAddress(&shared.queryEmpty), 4 * kConsumers);
    for (int stage = 0; stage < kStages; stage++) {
      initBarrier(sharedAddress(&shared.keysFull[stage]), 128);
      initBarrier(sharedAddress(&shared.keysEmpty[stage]), 4 * kConsumers);
      initBarrier(sharedAddress(&shared.valuesFull[stage]), 128);
      initBarrier(sharedAddress(&shared.valuesEmpty[stage]), 4 * kConsumers);
    }
  }
  __syncthreads();
  if (threadIdx.x < 128) {
    shrinkRegisters<kLoadRegisters>();
    loadTiles<G>(params, shared, queryBytes, keyBytes, valueBytes);
  } else {
    growRegisters<kComputeRegisters>();
    computeTiles<G>(params, shared, queryBytes, keyBytes, valueBytes);
  }
}

#define INSTANCE(G)                                                                                                                          \
  extern "C" __global__ void __launch_bounds__(kAttendThreads, 1) attend_tiles_sm90_g##G(const __grid_constant__ AttendTilesParams params) { \
    attendTiles<G>(params);                                                                                                                  \
  }
INSTANCE(1)
INSTANCE(2)
INSTANCE(4)
INSTANCE(8)
INSTANCE(16)
