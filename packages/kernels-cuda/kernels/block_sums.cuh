// block_sums.cuh: running sums of a sub-block's keys, which end as its representative (spec 6), and the copy of a token into its page: what a warp does.
//
// Numerics: f32 sums in token order.
#pragma once
#include "elements.cuh"
#include "products.cuh"
#include "sequences.cuh"
#include "warp.cuh"

struct AppendParams {
  const void* k;        // [Tq, Hkv, D]
  const void* v;
  const float* marks;   // [Tq]
  const float* lambda;  // [Hkv]
  void* keyPages;       // [slots, Hkv, D]
  void* valuePages;
  float* reps;          // [sub-blocks, Hkv, D]: sums of the keys so far, of a complete sub-block its representative
  float* markedSums;    // [sub-blocks, Hkv, D]
  int* marked;          // [sub-blocks, Hkv]: punctuation tokens so far
  uint32_t* halfReps;   // f16 [sub-blocks, Hkv, D], complete ones; null where nobody reads it
  Sequences sequences;
  Rules rules;
  int copyBlocks;  // thread blocks that copy
  int sumBlocks;   // thread blocks a KV head that sum
};

/** Sums of one sub-block of one KV head; a lane has D / 32 neighbouring dimensions. */
template <typename T, int D>
struct BlockSums {
  static constexpr int kPerLane = D / kLanes;

  float keys[kPerLane] = {};
  float marked[kPerLane] = {};
  int count = 0;  // of the marked

  /** Goes on from what is stored. @param stored row of the sub-block, see `representativeRow` */
  PHSA_DEVICE void load(const AppendParams& params, int64_t stored) {
    const int64_t at = stored * D + laneIndex() * kPerLane;
    loadElements(params.reps + at, keys);
    loadElements(params.markedSums + at, marked);
    count = params.marked[stored];
  }

  /** Adds a new token. @param row of k */
  PHSA_DEVICE void add(const AppendParams& params, int64_t row, int kvHead) {
    float key[kPerLane];
    loadElements(static_cast<const T*>(params.k) + (row * params.rules.kvHeads + kvHead) * D + laneIndex() * kPerLane, key);
    add(key, params.marks[row]);
  }

  PHSA_DEVICE void add(const float (&key)[kPerLane], float mark) {
#pragma unroll
    for (int i = 0; i < kPerLane; i++) keys[i] += key[i];
    if (mark == 0.0f) return;
    count++;
#pragma unroll
    for (int i = 0; i < kPerLane; i++) marked[i] += key[i];
  }

  /** Puts the representative of the whole sub-block in the place of the sum of keys. @param size tokens of a sub-block */
  PHSA_DEVICE void finish(const AppendParams& params, int kvHead, int size) { finish(params.lambda[kvHead], size); }
  PHSA_DEVICE void finish(float share, int size) {
#pragma unroll
    for (int i = 0; i < kPerLane; i++) {
      const float global = keys[i] / size;
      const float punctuation = count == 0 ? global : marked[i] / count;
      keys[i] = share * global + (1.0f - share) * punctuation;
    }
  }

  PHSA_DEVICE void store(const AppendParams& params, int64_t stored) const {
    const int64_t at = stored * D + laneIndex() * kPerLane;
    // No lane may store the count before all have read it.
    __syncwarp();
    storeElements(params.markedSums + at, marked);
    if (laneIndex() == 0) params.marked[stored] = count;
    storeElements(params.reps + at, keys);
  }

  /** The finished representative in f16. @param target [D / 2] pairs */
  PHSA_DEVICE void storeHalves(uint32_t* target) const {
    if constexpr (kPerLane > 1) {
#pragma unroll
      for (int i = 0; i < kPerLane; i += 2) target[(laneIndex() * kPerLane + i) / 2] = boundedHalves(keys[i], keys[i + 1]);
    } else {
      const float next = __shfl_xor_sync(kWholeWarp, keys[0], 1);
      if (laneIndex() % 2 == 0) target[laneIndex() / 2] = boundedHalves(keys[0], next);
    }
  }
};

/** Copies a token's key and value of one KV head into its page. @param item row of k times KV heads, plus the KV head */
template <typename T, int D>
PHSA_DEVICE void copyToPage(const AppendParams& params, int64_t item, int64_t slot) {
  using Elements = Pack<T, D / kLanes>;
  const int64_t target = (slot * params.rules.kvHeads + item % params.rules.kvHeads) * kLanes + laneIndex();
  const int64_t source = item * kLanes + laneIndex();
  static_cast<Elements*>(params.keyPages)[target] = static_cast<const Elements*>(params.k)[source];
  static_cast<Elements*>(params.valuePages)[target] = static_cast<const Elements*>(params.v)[source];
}
