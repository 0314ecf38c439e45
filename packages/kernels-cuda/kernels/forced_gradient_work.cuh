// forced_gradient_work.cuh: what a thread block of attend_forced_gradient_sm90.cu has to do: its keys, the queries that it walks, and where its sums go.
#pragma once
#include "sequences.cuh"

struct ForcedKeyGradientParams {
  const void* q;       // [Tq, Hq, 128]
  const void* k;       // [Tk, Hkv, 128]
  const void* v;
  const float* lse;    // [Tq, Hq]
  const float* delta;  // [Tq, Hq]
  const void* dOut;    // [Tq, Hq, 128]
  float* dk;           // [Tk, Hkv, 128], all written
  float* dv;
  float* partials;     // [2 * Tq / chunk + 2, initTiles, Hkv, 2, 128, 128]: of the first keys and each chunk of queries
  Sequences sequences;
  Rules rules;
  int chunk;       // queries
  int chunkItems;  // tiles of `chunk` queries that cover each sequence by itself
  int initTiles;   // of 128 keys
};

constexpr int kDim = 128;
constexpr int kKeys = 128;

/** The keys of a thread block and the queries that it walks, by position. */
struct Work {
  int sequence;
  int firstKey;
  int length;  // of the sequence
  int firstQuery;
  int endQuery;
  float* dk;  // row of the first key
  float* dv;
  int64_t stride;  // floats from key to key
};

/** Position behind the last query that sees this key without having chosen it. */
PHSA_DEVICE int endOf(const Rules& rules, int length, int key) {
  const int block = key / rules.blockSize;
  if (block < rules.initBlocks) return length;
  const int64_t end = (static_cast<int64_t>(block) + rules.localBlocks) * rules.blockSize;
  return static_cast<int>(min(static_cast<int64_t>(length), max(end, static_cast<int64_t>(rules.denseBelow))));
}

PHSA_DEVICE int64_t partialOffset(const ForcedKeyGradientParams& params, int sequence, int chunkIndex, int tile, int kvHead) {
  // Sequences of more than one chunk take at most twice as many slots as they have whole chunks.
  const int64_t slot = static_cast<int64_t>(params.sequences.queryStarts[sequence] / params.chunk) * 2 + chunkIndex;
  return ((slot * params.initTiles + tile) * params.rules.kvHeads + kvHead) * (2 * kKeys * kDim);
}

/** False where another thread block does the work, or none has to. */
PHSA_DEVICE bool findWork(const ForcedKeyGradientParams& params, int kvHead, Work& work) {
  const Sequences& sequences = params.sequences;
  const int items = params.chunkItems * params.initTiles;
  const int item = blockIdx.y;
  if (item < items) {
    const RowTile rows = rowTile(sequences.queryStarts, sequences.sequences, sequences.queryTokens, params.chunk, item / params.initTiles);
    if (rows.sequence >= sequences.sequences || rows.first >= rows.end) return false;
    const int start = sequences.queryStarts[rows.sequence];
    const int queries = sequences.queryStarts[rows.sequence + 1] - start;
    work.sequence = rows.sequence;
    work.length = keyCount(sequences, rows.sequence);
    work.firstKey = item % params.initTiles * kKeys;
    if (queries <= params.chunk || work.firstKey >= work.length) return false;
    const int position = work.length - queries - start;
    work.firstQuery = max(rows.first + position, work.firstKey);
    work.endQuery = rows.end + position;
    work.dk = params.partials + partialOffset(params, rows.sequence, (rows.first - start) / params.chunk, item % params.initTiles, kvHead);
    work.dv = work.dk + kKeys * kDim;
    work.stride = kDim;
    return true;
  }
  const RowTile keys = rowTile(sequences.keyStarts, sequences.sequences, sequences.keyTokens, kKeys, item - items);
  if (keys.first >= keys.end) return false;
  const int64_t at = (static_cast<int64_t>(keys.first) * params.rules.kvHeads + kvHead) * kDim;
  work.sequence = keys.sequence;
  work.stride = static_cast<int64_t>(params.rules.kvHeads) * kDim;
  work.dk = params.dk + at;
  work.dv = params.dv + at;
  if (keys.sequence >= sequences.sequences) {
    work.firstKey = 0;
    work.length = keys.end - keys.first;
    work.firstQuery = 0;
    work.endQuery = 0;
    return true;
  }
  work.firstKey = keys.first - sequences.keyStarts[keys.sequence];
  work.length = keyCount(sequences, keys.sequence);
  const int queries = sequences.queryStarts[keys.sequence + 1] - sequences.queryStarts[keys.sequence];
  if (queries > params.chunk && work.firstKey < params.rules.initBlocks * params.rules.blockSize) return false;
  const int lastKey = min(work.firstKey + kKeys, work.length) - 1;
  work.firstQuery = max(work.length - queries, work.firstKey);
  work.endQuery = max(endOf(params.rules, work.length, work.firstKey), endOf(params.rules, work.length, lastKey));
  return true;
}
