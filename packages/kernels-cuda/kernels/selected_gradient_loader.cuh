// selected_gradient_loader.cuh: the warpgroup of selected_gradient_wide_sm90.cu that takes pieces of lists from a counter and copies for the others: a block's
// keys and values, then the rows of q, dOut, lse and delta of its choices, 64 rows a stage, and the choices themselves.
#pragma once
#include "selected_gradient_products.cuh"

/** What there is to be done for item `index`; false where nothing is. */
PHSA_DEVICE bool takeItem(const SelectedGradientParams& params, WideItem& item, int index) {
  const Sequences& sequences = params.sequences;
  const int headItems = params.headPieces + sequences.blocks;
  // One KV head after the other, long lists first.
  const int head = index / headItems;
  const int later = index % headItems;
  int list = head * sequences.blocks + later - params.headPieces;
  item.piece = 0;
  if (later < params.headPieces) {
    if (later >= params.counters[1 + head]) return false;
    const int2 found = reinterpret_cast<const int2*>(params.pieces)[head * params.headPieces + later];
    list = found.x;
    item.piece = found.y;
  }
  const KeySlice keys = keySlice(params, list, 0);
  if (keys.sequence == sequences.sequences) return false;
  const int4 range = reinterpret_cast<const int4*>(params.lists)[list];
  item.count = min(params.pieceEntries, range.y - item.piece * params.pieceEntries);
  if (item.count <= 0 && !params.last) return false;
  item.kvHead = keys.kvHead;
  item.firstEntry = range.x + item.piece * params.pieceEntries;
  item.firstPiece = range.z;
  item.pieces = range.w;
  item.firstKey = keys.firstKey;
  item.keys = max(0, min(kKeys, keyCount(sequences, keys.sequence) - keys.firstKey));
  item.firstRow = static_cast<int>(keys.row);
  item.position = firstPosition(sequences, keys.sequence) - sequences.queryStarts[keys.sequence];
  return true;
}

/** Copies for the other warpgroups. */
PHSA_DEVICE void copyLists(const SelectedGradientParams& params, unsigned char* bytes, uint32_t shared) {
  const Sequences& sequences = params.sequences;
  const Rules& rules = params.rules;
  const int thread = threadIdx.x;
  const int lane = laneIndex();
  const int chunk = thread & 15;
  const int firstRow = thread >> 4;
  const int shift = 31 - __clz(rules.heads / rules.kvHeads);
  const int headMask = (1 << shift) - 1;
  const int stepEntries = kRows >> shift;
  const int items = params.kvHeads * (params.headPieces + sequences.blocks);
  const uint32_t barriers = shared + kBarriersAt;
  WideItem* const told = reinterpret_cast<WideItem*>(bytes + kItemsAt);
  int* const nextItem = reinterpret_cast<int*>(bytes + kNextAt);
  const int64_t dOutOffset = static_cast<const char*>(params.dOut) - static_cast<const char*>(params.q);
  int upcoming = thread == 0 ? atomicAdd(params.counters, 1) : 0;
  int turn = 0;
  int taken = 0;
  for (int round = 0;; round++) {
    if (thread == 0) {
      nextItem[round & 1] = upcoming;
      upcoming = atomicAdd(params.counters, 1);
    }
    syncThreads(1, kCopyThreads);
    const int index = nextItem[round & 1];
    WideItem item;
    if (index >= items) break;
    if (!takeItem(params, item, index)) continue;
    if (taken > 0) waitForPhase(barriers + 8, (taken - 1) & 1);
    const int steps = (item.count + stepEntries - 1) / stepEntries;
    const int64_t keyStart = static_cast<int64_t>(item.firstRow) * rules.kvHeads + item.kvHead;
    if (steps > 0) {
#pragma unroll 4
      for (int row = firstRow; row < kKeys; row += kCopyThreads / 16) {
        const bool valid = row < item.keys;
        const int64_t at = (keyStart + (valid ? row * rules.kvHeads : 0)) * kRowBytes + chunk * 16;
        const uint32_t target = shared + operandOffset(row, chunk, kKeys);
        copyAsync16(target, static_cast<const char*>(params.k) + at, valid);
        copyAsync16(target + kValuesAt, static_cast<const char*>(params.v) + at, valid);
      }
    }
    arriveAfterCopies(barriers);
    if (thread == 0) {
      item.steps = steps;
      told[taken & 1] = item;
      arrive(barriers);
    }
    taken++;

    const int* entries = params.entries + static_cast<int64_t>(item.kvHead) * sequences.queryTokens * rules.topK + item.firstEntry;
    const int headStart = item.kvHead << shift;
    // Of this lane's choices of a step.
    int entry[2];
    const auto fetch = [&](int step) {
#pragma unroll
      for (int half = 0; half < 2; half++) entry[half] = entries[min(step * stepEntries + lane + half * kLanes, item.count - 1)];
    };
    if (steps > 0) fetch(0);
    for (int step = 0; step < steps; step++, turn++) {
      const int stage = turn % kStages;
      int heads[2];
#pragma unroll
      for (int half = 0; half < 2; half++) heads[half] = entry[half] / rules.topK * rules.heads + headStart;
      if (step + 1 < steps) fetch(step + 1);
      if (turn >= kStages) waitForPhase(barriers + kStageBarriers + stage * 16 + 8, (turn / kStages - 1) & 1);
      const int used = item.count - step * stepEntries;
      const auto rowOf = [&](int row) {
        const int choice = row >> shift;
        int first = __shfl_sync(kWholeWarp, heads[0], choice & 31);
        if (shift == 0) {
          const int second = __shfl_sync(kWholeWarp, heads[1], choice & 31);
          if (choice >= kLanes) first = second;
        }
        return first + (row & headMask);
      };
      const uint32_t target = shared + kStagesAt + stage * kStageBytes + operandOffset(firstRow, chunk, kRows);
      const char* source = static_cast<const char*>(params.q) + chunk * 16;
#pragma unroll
      for (int i = 0; i < kRows / 8; i++) {
        const int row = firstRow + i * 8;
        const bool valid = row >> shift < used;
        const char* from = source + static_cast<int64_t>(rowOf(row)) * kRowBytes;
        copyAsync16(target + i * 1024, from, valid);
        copyAsync16(target + i * 1024 + kTileBytes, from + dOutOffset, valid);
      }
      const uint32_t scalars = shared + kScalarsAt + stage * kScalarBytes;
      const int row = thread & (kRows - 1);
      const int head = rowOf(row);
      copyAsync4(scalars + thread * 4, (thread < kRows ? params.lse : params.delta) + head, row >> shift < used);
      if (thread < stepEntries) copyAsync4(scalars + (2 * kRows + thread) * 4, entries + min(step * stepEntries + thread, item.count - 1), true);
      arriveAfterCopies(barriers + kStageBarriers + stage * 16);
    }
  }
  if (taken > 0) waitForPhase(barriers + 8, (taken - 1) & 1);
  arriveAfterCopies(barriers);
  if (thread == 0) {
    told[taken & 1].steps = -1;
    arrive(barriers);
  }
}
