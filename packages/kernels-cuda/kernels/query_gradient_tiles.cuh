// query_gradient_tiles.cuh: the tiles of attend_query_gradient_sm90.cu, and the shared memory in which its warpgroups hand each other their parts.
#pragma once
#include "hopper.cuh"
#include "sequences.cuh"

struct QueryGradientSlabParams {
  const void* q;           // [Tq, Hq, 128]
  const void* k;           // [Tk, Hkv, 128]
  const void* v;
  const int* selected;     // [Hkv, Tq, topK]
  const float* lse;        // [Tq, Hq]
  const float* delta;      // [Tq, Hq]
  const void* dOut;        // [Tq, Hq, 128]
  const void* dqPartials;  // bf16 [kvHeads of the slab, rows of the slab, topK, G, 128]: only slots with a block are read
  void* dq;                // [Tq, Hq, 128], written for the slab
  Sequences sequences;
  Rules rules;
  int firstRow;
  int rows;
  int firstKvHead;
  int kvHeads;
};

constexpr int kDim = 128;
constexpr int kRows = 128;
constexpr int kRowsPerGroup = 64;
constexpr int kKeys = 64;
constexpr int kStages = 4;
constexpr int kThreads = 512;
constexpr int kProducers = 128;
constexpr int kAdders = 128;
constexpr int kConsumers = 256;
constexpr uint32_t kRowBytes = kRows * kDim * 2;
constexpr uint32_t kKeyBytes = kKeys * kDim * 2;
constexpr float kLog2E = 1.4426950408889634f;

// Byte offsets in shared memory, from a multiple of 1024 on.
constexpr uint32_t kDOutsAt = kRowBytes;  // two, in turn
constexpr uint32_t kStagesAt = 3 * kRowBytes;
constexpr uint32_t kLogsAt = kStagesAt + kStages * 2 * kKeyBytes;
constexpr uint32_t kBarriersAt = kLogsAt + 2 * kRows * 4;
constexpr uint32_t kRowsFullAt = kBarriersAt + kStages * 16;
constexpr uint32_t kRowsEmptyAt = kRowsFullAt + 8;
constexpr uint32_t kDOutsEmptyAt = kRowsEmptyAt + 8;
constexpr uint32_t kAddedAt = kDOutsEmptyAt + 8;
constexpr uint32_t kTakenAt = kAddedAt + 8;
constexpr uint32_t kCountsAt = kTakenAt + 8;
constexpr uint32_t kSharedBytes = kCountsAt + kRows;
static_assert(kSharedBytes + 1024 <= 227 * 1024, "with what aligning may take");

/** Consecutive queries of a sequence and KV head, and the keys that any of them sees without having chosen them. */
struct Tile {
  int kvHead;
  int sequence;  // S for rows that belong to none
  int firstRow;
  int rows;
  int position;     // of the first row
  int initEnd;      // first tokens, where the window does not begin before their end
  int windowStart;  // window, or everything
  int end;          // behind the last key that is seen
  int initSteps;
  int steps;

  PHSA_DEVICE int firstKey(int step) const { return step < initSteps ? step * kKeys : windowStart + (step - initSteps) * kKeys; }
  PHSA_DEVICE int endKey(int step) const { return min(firstKey(step) + kKeys, step < initSteps ? initEnd : end); }
};

/** Where the window of a query begins, 0 for a dense one. */
PHSA_DEVICE int windowStartOf(const Rules& rules, int position, int denseBelow) {
  return position < denseBelow ? 0 : candidateBlocks(rules, position, denseBelow).end * rules.blockSize;
}

/** Tiles that may meet the rows of the slab. */
PHSA_DEVICE int firstTile(const QueryGradientSlabParams& params, int queries) { return max(0, params.firstRow / queries - 1); }
PHSA_DEVICE int tileCount(const QueryGradientSlabParams& params, int queries) {
  return (params.firstRow + params.rows) / queries + params.sequences.sequences + 1 - firstTile(params, queries);
}

PHSA_DEVICE Tile tileOf(const QueryGradientSlabParams& params, int item, int queries) {
  const Sequences& sequences = params.sequences;
  // Last tiles first: dense ones are the longest.
  const int index = firstTile(params, queries) + tileCount(params, queries) - 1 - item / params.kvHeads;
  const RowTile rows = rowTile(sequences.queryStarts, sequences.sequences, sequences.queryTokens, queries, index);
  Tile tile;
  tile.kvHead = params.firstKvHead + item % params.kvHeads;
  tile.sequence = rows.sequence;
  tile.firstRow = max(rows.first, params.firstRow);
  tile.rows = max(0, min(rows.end, params.firstRow + params.rows) - tile.firstRow);
  tile.position = tile.initEnd = tile.windowStart = tile.end = tile.initSteps = tile.steps = 0;
  if (tile.rows == 0 || rows.sequence >= sequences.sequences) return tile;
  const Rules& rules = params.rules;
  tile.position = firstPosition(sequences, rows.sequence) + tile.firstRow - sequences.queryStarts[rows.sequence];
  tile.end = tile.position + tile.rows;
  tile.windowStart = windowStartOf(rules, tile.position, rules.denseBelow);
  tile.initEnd = min(rules.initBlocks * rules.blockSize, tile.end);
  if (tile.windowStart <= rules.initBlocks * rules.blockSize) tile.windowStart = tile.initEnd = 0;
  tile.initSteps = (tile.initEnd + kKeys - 1) / kKeys;
  tile.steps = tile.initSteps + (tile.end - tile.windowStart + kKeys - 1) / kKeys;
  return tile;
}
