// attend_loader.cuh: the warpgroup of attend_sm90.cu that takes the next item and copies its queries, keys and values into shared memory.
//
// Keys and values go through a ring of stages, a step each, with barriers of their own: keys are there, and free again, before the values are. Copies
// are cp.async, 16 bytes of every eighth row a thread; they run ahead into the next item, whose queries wait only for the last use of these. Where keys
// lie in pages the places of a step's units are looked up during the step before.
#pragma once
#include "attend_tiles.cuh"
#include "hopper.cuh"

constexpr int kStages = 3;
constexpr int kRowBytes = 256;
constexpr int kQueryBytes = kRows * kRowBytes;
constexpr int kStepBytes = kStepKeys * kRowBytes;
constexpr int kMostWords = 4;

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
  int left[2][kRows];   // of the same items: choices of each row that were left out of the lists
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
  const int items = params.tiles * params.heads;
  int* counter = params.next + params.firstHead;
  const char* q = static_cast<const char*>(params.q);
  const char* k = static_cast<const char*>(params.k) + chunk * 16;
  const char* v = static_cast<const char*>(params.v) + chunk * 16;
  const uint32_t target = operandOffset(rowOfThread, chunk, kStepKeys);
  const bool joins = params.partials && *params.wanted != 0;
  Ring ring;
  int queryPhase = 0;
  int upcoming = thread == 0 ? atomicAdd(counter, 1) : 0;
  while (true) {
    if (thread == 0) {
      shared.next = upcoming;
      upcoming = atomicAdd(counter, 1);
    }
    syncThreads(1, 128);
    const int index = shared.next;
    syncThreads(1, 128);
    if (index >= items) break;
    const int kvHead = params.firstHead + index / params.tiles;
    const int tileIndex = params.tiles - 1 - index % params.tiles;
    const AttendTile tile = attendTile(sequences, rules, kRows / G, params.firstTile + tileIndex);
    if (tile.first >= tile.end) continue;
    const int item = kvHead * params.tiles + tileIndex;
    const bool hasKeys = tile.sequence >= 0;
    const int count = hasKeys ? params.counts[item] : 0;
    const int listStart = tile.initSteps + tile.windowSteps;
    const int steps = hasKeys ? listStart + (count + kStepUnits - 1) / kStepUnits : 0;
    const bool paged = sequences.keyStarts == nullptr;
    const int64_t firstKey = hasKeys && !paged ? sequences.keyStarts[tile.sequence] : 0;
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
      const int* leftCount = params.leftCounts + static_cast<int64_t>(kvHead) * sequences.queryTokens + tile.first + thread / G;
      const bool mayBeLeft = joins && hasKeys && tile.first + thread / G < tile.end;
      copyAsync4(sharedAddress(&shared.left[queryPhase][thread]), mayBeLeft ? leftCount : params.next, mayBeLeft);
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
    // Where a unit lies, in units from the sequence's first key or that of page 0; a page has whole units.
    const auto placeOf = [&](int unit) {
      if (!paged) return unit;
      if (unit * kUnit >= tile.keyEnd) return 0;
      return static_cast<int>(keyRow(sequences, tile.sequence, unit * kUnit) / kUnit);
    };
    if (steps == 0) loadQueries();
    int nextUnit = unitOf(0);
    int nextPlace = placeOf(nextUnit);
    for (int step = 0; step < steps; step++, ring.step()) {
      const int laneUnit = nextUnit;
      const int lanePlace = nextPlace;
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
      int places[kStepUnits];
#pragma unroll
      for (int i = 0; i < kStepUnits; i++) places[i] = __shfl_sync(~0u, lanePlace, i);
      const bool whole = __all_sync(~0u, laneUnit < wholeUnits);
      const auto loadRows = [&](const char* source, uint32_t bytes) {
        if (whole) {
#pragma unroll
          for (int i = 0; i < kStepUnits; i++) {
            const char* row = source + static_cast<uint64_t>(static_cast<uint32_t>(places[i])) * unitStride;
            copyAsync16(bytes + i * 2048, row, true);
            copyAsync16(bytes + i * 2048 + 1024, row + halfStride, true);
          }
        } else {
#pragma unroll
          for (int i = 0; i < kStepUnits; i++) {
            const int key = __shfl_sync(~0u, laneUnit, i) * kUnit + rowOfThread;
            const bool valid0 = key < tile.keyEnd;
            const bool valid1 = key + 8 < tile.keyEnd;
            const char* row = source + (valid0 ? static_cast<uint64_t>(static_cast<uint32_t>(places[i])) * unitStride : 0);
            copyAsync16(bytes + i * 2048, valid0 ? row : k, valid0);
            copyAsync16(bytes + i * 2048 + 1024, valid1 ? row + halfStride : k, valid1);
          }
        }
      };
      loadRows(tileK, keyBytes + stageBytes);
      arriveAfterCopies(sharedAddress(&shared.keysFull[ring.stage]));
      nextPlace = placeOf(nextUnit);
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
