// query_gradient_loader.cuh: the warpgroup of attend_query_gradient_sm90.cu that copies: a tile's rows of q, dOut, lse and delta, then its keys and values,
// 64 a stage. Rows of the next tile follow as soon as the products have taken those of this one.
#pragma once
#include "query_gradient_tiles.cuh"

/** Commits what was copied, then tells of the group before it, which must have arrived. */
PHSA_DEVICE void commitFor(uint32_t barrier, uint32_t& pending) {
  commitCopies();
  if (pending) {
    waitForCopies<1>();
    fenceAsyncProxy();
    arrive(pending);
  }
  pending = barrier;
}

PHSA_DEVICE void produce(const QueryGradientSlabParams& params, uint32_t shared, int shift) {
  const Sequences& sequences = params.sequences;
  const int thread = threadIdx.x;
  const int chunk = thread & 15;
  const int first = thread >> 4;
  const int queries = kRows >> shift;
  const int items = tileCount(params, queries) * params.kvHeads;
  const uint32_t rowTarget = shared + operandOffset(first, chunk, kRows);
  const uint32_t keyTarget = shared + kStagesAt + operandOffset(first, chunk, kKeys);
  const int64_t valueOffset = static_cast<const char*>(params.v) - static_cast<const char*>(params.k);
  const int keyStride = 8 * params.rules.kvHeads * kDim * 2;
  uint32_t pending = 0;
  int turn = 0;
  int tiles = 0;
  for (int item = blockIdx.x; item < items; item += gridDim.x) {
    const Tile tile = tileOf(params, item, queries);
    if (tile.steps == 0) continue;
    if (tiles > 0) waitForPhase(shared + kRowsEmptyAt, (tiles - 1) & 1);
    if (tiles > 1) waitForPhase(shared + kDOutsEmptyAt, tiles & 1);
    const uint32_t dOutTarget = rowTarget + kDOutsAt + (tiles & 1) * kRowBytes;
    tiles++;
    const int64_t start = static_cast<int64_t>(tile.firstRow) * params.rules.heads + (tile.kvHead << shift);
#pragma unroll 4
    for (int i = 0; i < kRows / 8; i++) {
      const int row = first + 8 * i;
      const bool valid = row >> shift < tile.rows;
      const int64_t at = valid ? (start + (row >> shift) * params.rules.heads + (row & ((1 << shift) - 1))) * (kDim * 2) + chunk * 16 : 0;
      copyAsync16(rowTarget + i * 1024, static_cast<const char*>(params.q) + at, valid);
      copyAsync16(dOutTarget + i * 1024, static_cast<const char*>(params.dOut) + at, valid);
    }
    const bool valid = thread >> shift < tile.rows;
    const int64_t at = valid ? start + (thread >> shift) * params.rules.heads + (thread & ((1 << shift) - 1)) : 0;
    copyAsync4(shared + kLogsAt + thread * 4, params.lse + at, valid);
    copyAsync4(shared + kLogsAt + (kRows + thread) * 4, params.delta + at, valid);
    commitFor(shared + kRowsFullAt, pending);

    const int64_t keyStart = sequences.keyStarts[tile.sequence];
    for (int step = 0; step < tile.steps; step++, turn++) {
      const int stage = turn % kStages;
      const uint32_t barriers = shared + kBarriersAt + stage * 16;
      if (turn >= kStages) waitForPhase(barriers + 8, (turn / kStages - 1) & 1);
      const int firstKey = tile.firstKey(step);
      const int keys = tile.endKey(step) - firstKey;
      const uint32_t target = keyTarget + stage * 2 * kKeyBytes;
      const char* source = static_cast<const char*>(params.k) + ((keyStart + firstKey + first) * params.rules.kvHeads + tile.kvHead) * (kDim * 2) + chunk * 16;
      if (keys == kKeys) {
#pragma unroll
        for (int i = 0; i < kKeys / 8; i++) {
          copyAsync16(target + i * 1024, source, true);
          copyAsync16(target + i * 1024 + kKeyBytes, source + valueOffset, true);
          source += keyStride;
        }
      } else {
#pragma unroll 1
        for (int i = 0; i < kKeys / 8; i++) {
          const bool valid = first + 8 * i < keys;
          const char* from = valid ? source : static_cast<const char*>(params.k);
          copyAsync16(target + i * 1024, from, valid);
          copyAsync16(target + i * 1024 + kKeyBytes, from + valueOffset, valid);
          source += keyStride;
        }
      }
      commitFor(barriers, pending);
    }
  }
  if (pending) {
    waitForCopies<0>();
    fenceAsyncProxy();
    arrive(pending);
  }
}
