// pair_selection.cuh: the topK blocks of a warp's 8 queries with two heads in one pass over the blocks, before the sums of the softmax are known. Only
// *_sm90.cu include it.
//
// With e and f the exponentials of a block's two scores, each by a reference of its own, a block ranks by e + w f, where w = sum e / sum f over all
// complete blocks. While blocks go by, w is that of those seen so far. A block is dropped when K others seem to score higher by a margin that follows the
// spread of the best ones. In the end w is exact, and so is the order of what was kept; what was dropped at a threshold t with weight w' scores less than
// t max(1, w / w'). Where the last of the chosen ones does not reach the largest of these, the caller must look at all blocks once more with w; what the
// chosen ones reach, topK blocks reach at least.
#pragma once
#include "hopper.cuh"
#include "pair_lists.cuh"
#include "row_selection.cuh"

/** Relative change of the weight that is worth lowering thresholds for. */
constexpr float kWeightStep = 1.0f / 256.0f;
/** Of the spread of the best maxima, as an exponent: how far below the threshold of row_selection.cuh blocks are still kept. */
constexpr float kMargin = 0.09f;
/** Entries that are left of a query's when its lists are too full. */
constexpr int kThinned = 64;
/** Entries of a list in the end. */
constexpr int kLast = 24;
/** Past so many blocks, the bits beside a block are spread over the scores that are there. */
constexpr uint32_t kManyBlocks = 16384;
/** What weights are kept within, so that no product of them is NaN. */
constexpr float kLeastWeight = 1e-37f;
constexpr float kMostWeight = 1e37f;

PHSA_DEVICE float log2Fast(float x) {
  float y;
  asm("lg2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

template <int Capacity>
struct PairSelection {
  /** Entries of a list that leave room for a unit. */
  static constexpr int kMost = Capacity - kUnit;
  static_assert(Capacity % 4 == 0 && kThinned <= 4 * kMost);
  PairList list;
  uint32_t columnMask;  // ~kColumnBits, in a register
  float kept[kKept];    // largest maxima, descending
  float weight;         // of the second head
  float dropped;        // largest threshold so far
  float droppedUnit;    // largest threshold divided by its weight
  float floor;          // what topK blocks reach by the weight of the last write, 0 where that is not known
  uint32_t mask;        // index bits of a word
  int front;            // first block of the tile that came before its turn

  PHSA_DEVICE PairSelection(uint32_t shared, int blocks, int frontBlock) {
    const uint32_t start = shared + (threadIdx.x & 31) * 8;
    mask = blocks > 1 ? 0xFFFFFFFFu >> __clz(blocks - 1) : 0;
    front = frontBlock;
    list.start = start;
    // A constant would become an operand of its own instruction.
    asm volatile("mov.u32 %0, %1;" : "=r"(columnMask) : "n"(~kColumnBits));
    weight = 1.0f;
    floor = 0.0f;
    clear(0.0f);
  }

  /** Forgets all blocks; the weight stays. What scores less than `threshold` will be dropped. */
  PHSA_DEVICE void clear(float threshold) {
    list.end = list.start;
    list.threshold = threshold;
    dropped = 0.0f;
    droppedUnit = 0.0f;
#pragma unroll
    for (int i = 0; i < kKept; i++) kept[i] = 0.0f;
  }

  PHSA_DEVICE static float bounded(float weight) { return fminf(fmaxf(weight, kLeastWeight), kMostWeight); }

  /** The weight by the sums of both heads so far. */
  PHSA_DEVICE void weigh(float first, float second) {
    const float next = first > 0.0f && second > 0.0f ? bounded(__fdividef(first, second)) : weight;
    const float change = __fdividef(next, weight);
    if (fabsf(change - 1.0f) <= kWeightStep) return;
    note();
    const float lower = fminf(change, 1.0f);
    weight = next;
    list.threshold *= lower;
#pragma unroll
    for (int i = 0; i < kKept; i++) kept[i] *= lower;
  }

  /** Remembers what has been dropped at this weight. */
  PHSA_DEVICE void note() {
    dropped = fmaxf(dropped, list.threshold);
    droppedUnit = fmaxf(droppedUnit, __fdividef(list.threshold, weight));
  }

  /** Exponentials of a tile, of both heads in turn, two columns each; of its columns only those from `start` up to `end`. Its first unit is `unit0`. */
  PHSA_DEVICE void offer(const float (&powers)[64], int unit0, bool masked, int start, int end) {
    float scores[kUnits][kUnit];
#pragma unroll
    for (int i = 0; i < kUnits * kUnit; i++) scores[i / kUnit][i % kUnit] = fmaf(powers[i / 2 * 4 + 2 + i % 2], weight, powers[i / 2 * 4 + i % 2]);
    if (masked) {
      const int own = (threadIdx.x & 3) * 2;
#pragma unroll
      for (int i = 0; i < kUnits * kUnit; i++) {
        const int column = i / 2 * 8 + i % 2 + own;
        if (column < start || column >= end) scores[i / kUnit][i % kUnit] = kNone;
      }
    }
#pragma unroll
    for (int part = 0; part < kUnits; part++) {
      // Of columns 16 apart: neighbouring blocks score alike.
      float top = scores[0][part];
#pragma unroll
      for (int i = 1; i < kUnit; i++) top = fmaxf(top, scores[i / 2][i % 2 * 4 + part]);
#pragma unroll
      for (int i = 0; i < kKept; i++) {
        const float upper = fmaxf(kept[i], top);
        top = fminf(kept[i], top);
        kept[i] = upper;
      }
    }
    const float least = kept[kKept - 1];
    const float lowered = least > 0.0f ? least * exp2Fast(kMargin * (log2Fast(least) - log2Fast(kept[0]))) : 0.0f;
    list.threshold = fmaxf(list.threshold, quadLeast(lowered));
#pragma unroll
    for (int unit = 0; unit < kUnits; unit++) {
      if (__any_sync(kWarpMask, list.end - list.start > kMost * kPairStride)) makeRoom(kMost);
      PairEntry own[kUnit];
#pragma unroll
      for (int i = 0; i < kUnit; i++) {
        const int e = (unit * kUnit + i) / 2 * 4 + i % 2;
        own[i] = PairEntry{(__float_as_uint(powers[e]) & columnMask) | (i / 2 * 8 + i % 2), (__float_as_uint(powers[e + 2]) & ~kUnitBits) | (unit0 + unit)};
      }
      appendUnit(list, scores[unit], own);
    }
  }

  /** Leaves at most `most` entries in every list of the warp; those of a query are thinned only where they do not fit in any other way. */
  PHSA_DEVICE void makeRoom(int most) {
    dropBelow(list, weight);
    if (!__any_sync(kWarpMask, entries(list) > most)) return;
    if (__any_sync(kWarpMask, quadSum(entries(list)) > 4 * most)) thin(list, weight, mask, kThinned, front);
    if (__any_sync(kWarpMask, entries(list) > most)) balance(list, most);
  }

  /**
   * Writes the query's row of `selected`, which has `extent` places, null for none, by the weight that all blocks give.
   * @returns whether no dropped block can belong to it
   */
  PHSA_DEVICE bool write(float exactWeight, int topK, int extent, int* target) {
    note();
    weight = bounded(exactWeight);
    makeRoom(kLast);
    note();
    const PairRanks ranks = mask + 1 <= kManyBlocks ? PairRanks{mask, 0, 0, 0} : ranksOf(list, weight, mask);
    const int own = entries(list);
    const int longest = __reduce_max_sync(kWarpMask, own);
    uint32_t keys[1][kLast];
#pragma unroll
    for (int i = 0; i < kLast; i++) keys[0][i] = 0;
#pragma unroll
    for (int chunk = 0; chunk < kLast; chunk += 4) {
      if (chunk >= longest) break;
#pragma unroll
      for (int i = chunk; i < chunk + 4; i++) {
        const uint32_t key = ranks.key(loadPair(list.start + i * kPairStride), weight);
        keys[0][i] = i < own ? key : 0;
      }
    }
    const int total[1] = {quadSum(own)};
    uint32_t pivot[1];
    pivots(keys, total, longest, topK, pivot);
    uint32_t last = 0xFFFFFFFFu;
#pragma unroll
    for (int i = 0; i < kLast; i++) last = min(last, keys[0][i] != 0 && keys[0][i] >= pivot[0] ? keys[0][i] : 0xFFFFFFFFu);
    last = quadLeast(last);
    const int lane = threadIdx.x & 31;
    writeChosen(keys[0], pivot[0], longest, list.start - lane * 8 + lane / 4 * 16, mask, extent, target);
    floor = total[0] >= topK ? ranks.score(last) : 0.0f;
    const float bound = fmaxf(dropped, droppedUnit * weight) * (1.0f - kEntryRounding);
    return dropped == 0.0f || (total[0] >= topK && ranks.scoreAbove(last) >= bound);
  }
};
