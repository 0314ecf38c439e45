// top_blocks.cuh: the best blocks of one query so far, kept by a warp as a sorted list of up to 64: slot i lies in lane i % 32.
//
// Blocks are offered in ascending order and an equal score goes behind those that are there, so ties go to the lower index (spec 4).
#pragma once
#include "warp.cuh"

constexpr int kMostSelected = 64;

struct TopBlocks {
  float scores[2];
  int blocks[2];  // -1 for an empty slot

  PHSA_DEVICE void clear() {
    scores[0] = scores[1] = -INFINITY;
    blocks[0] = blocks[1] = -1;
  }

  PHSA_DEVICE void load(const float* fromScores, const int* fromBlocks, int size) {
#pragma unroll
    for (int half = 0; half < 2; half++) {
      const int slot = laneIndex() + half * kLanes;
      scores[half] = slot < size ? fromScores[slot] : -INFINITY;
      blocks[half] = slot < size ? fromBlocks[slot] : -1;
    }
  }

  PHSA_DEVICE void store(float* toScores, int* toBlocks, int size) const {
#pragma unroll
    for (int half = 0; half < 2; half++) {
      const int slot = laneIndex() + half * kLanes;
      if (slot >= size) continue;
      toScores[slot] = scores[half];
      toBlocks[slot] = blocks[half];
    }
  }

  /** Puts one block in its place; all lanes give the same. What falls behind slot 63 is gone. */
  PHSA_DEVICE void insert(float score, int block) {
    const int lane = laneIndex();
    const int place = __popc(__ballot_sync(kWholeWarp, blocks[0] >= 0 && scores[0] >= score)) +
                      __popc(__ballot_sync(kWholeWarp, blocks[1] >= 0 && scores[1] >= score));
    const float shifted[2] = {__shfl_up_sync(kWholeWarp, scores[0], 1), __shfl_up_sync(kWholeWarp, scores[1], 1)};
    const int shiftedBlocks[2] = {__shfl_up_sync(kWholeWarp, blocks[0], 1), __shfl_up_sync(kWholeWarp, blocks[1], 1)};
    const float carried = __shfl_sync(kWholeWarp, scores[0], kLanes - 1);
    const int carriedBlock = __shfl_sync(kWholeWarp, blocks[0], kLanes - 1);
#pragma unroll
    for (int half = 0; half < 2; half++) {
      const int slot = lane + half * kLanes;
      if (slot == place) {
        scores[half] = score;
        blocks[half] = block;
      } else if (slot > place) {
        scores[half] = half == 1 && lane == 0 ? carried : shifted[half];
        blocks[half] = half == 1 && lane == 0 ? carriedBlock : shiftedBlocks[half];
      }
    }
  }

  /** Offers the blocks of the lanes in `offered` (a ballot), which ascend with the lane. */
  PHSA_DEVICE void offer(unsigned offered, float score, int block) {
    while (offered != 0) {
      const int source = __ffs(offered) - 1;
      insert(__shfl_sync(kWholeWarp, score, source), __shfl_sync(kWholeWarp, block, source));
      offered &= offered - 1;
    }
  }

  /** Writes the best `count` blocks ascending, and -1 up to `width`. */
  PHSA_DEVICE void write(int* selected, int count, int width) const {
    const int lane = laneIndex();
    int ranks[2] = {0, 0};
    int filled = 0;
    for (int slot = 0; slot < count; slot++) {
      const int other = __shfl_sync(kWholeWarp, slot < kLanes ? blocks[0] : blocks[1], slot % kLanes);
      if (other < 0) break;
      filled++;
      ranks[0] += other < blocks[0];
      ranks[1] += other < blocks[1];
    }
#pragma unroll
    for (int half = 0; half < 2; half++) {
      const int slot = lane + half * kLanes;
      if (slot < filled) selected[ranks[half]] = blocks[half];
      else if (slot < width) selected[slot] = -1;
    }
  }
};

/** NaN never wins over a number. */
PHSA_DEVICE float comparable(float score) { return score == score ? score : -INFINITY; }
