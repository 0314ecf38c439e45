// attend_tiles.cuh: tiles of neighbouring queries and the ranges of keys that all queries of a tile see, for the kernels that list the other keys
// (attend_lists_sm90.cu) and those that attend (attend_sm90.cu).
//
// A tile is 128 rows: 128 / G queries with the G heads of a KV head; with its KV head it is an item. Keys are worked in steps of 8 units of 16.
#pragma once
#include "sequences.cuh"

struct AttendTilesParams {
  const void* q;        // [Tq, Hq, 128]
  const void* k;        // [Tk, Hkv, 128], or the pages of a cache
  const void* v;
  const int* selected;  // [Hkv, Tq, topK]
  void* out;            // [Tq, Hq, 128]
  float* lse;           // [Tq, Hq]
  int* units;           // [items, capacity]: first key / 16
  int* masks;           // [items, capacity / 8, words, 8]: bit for each query
  int* counts;          // [items], units of each list
  int* next;            // [Hkv] counters, that of a launch's first KV head counts its items
  int* excess;          // [samples], of attend_overlap_sm90; null: nothing is left out
  int* wanted;          // 1 where choices are left to attend_selected,
  int* left;            // [Hkv, Tq, topK]: these, in front of each row, then -1; not of rows that belong to no sequence
  int* leftCounts;      // [Hkv, Tq], likewise
  const void* partials;  // [heads, Tq, topK, G, 128] of attend_selected, which the tiles add; null: they do not
  const float* partialLse;
  Sequences sequences;
  Rules rules;
  int firstTile;
  int tiles;       // of this launch; items are tiles * heads
  int firstHead;   // KV head
  int heads;       // of this launch
  int capacity;    // of a list, a multiple of 8
  int words;       // of a mask: max(1, 4 / G)
  int listBlocks;  // blocks of a list at most
  int samples;
  int unitsLimit;  // units of a union that cost as much as 128 pairs of query head and choice cost by themselves
  int passUnits;   // units for each tile that it costs to leave out anything
};

constexpr int kRows = 128;
constexpr int kStepKeys = 128;
constexpr int kUnit = 16;
constexpr int kStepUnits = kStepKeys / kUnit;

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
  const Query query = queryOf(sequences, rules, low, start);
  const int position = query.position;
  const int dense = max(0, min(query.denseBelow - position, end - start));
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
