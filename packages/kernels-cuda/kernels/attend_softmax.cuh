// attend_softmax.cuh: what a warpgroup of attend_sm90.cu does to the scores of a step: masks, and the online softmax in base 2.
//
// Probabilities are relative to 2^top of their row. The first step of an item takes its maximum as the top; after that no maximum is looked for: where a
// lane's probabilities of a row and step add up to more than kMostAdded the warp computes its scores again and raises the tops of its rows.
#pragma once
#include "attend_loader.cuh"
#include "attend_products.cuh"

constexpr float kLog2e = 1.4426950408889634f;
/** Sum of a lane's 32 probabilities of a row and step from which on the reference is raised. */
constexpr float kMostAdded = 65536.0f;

/** What a lane of a computing warpgroup knows of the item, of its two rows and of the step that it works on. */
template <int G>
struct Consumer {
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
