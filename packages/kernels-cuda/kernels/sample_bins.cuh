// sample_bins.cuh: logits by their distance from the largest one, in bins: what the kernels share that draw a token a row.
#pragma once
#include "sample_order.cuh"

struct SampleParams {
  const void* logits;    // [S, V]
  const float* control;  // [S, 5]: temperature, topK, topP, minP, uniform number
  int* ids;              // [S]
  double* rests;         // [S, parts]: mass of a part beyond the head
  float* largest;        // [S, parts]
  int* likeliest;        // [S, parts]: lowest id of the part's largest; only of a row where that is all that counts
  uint32_t* counts;      // [S, kHeadBins]
  uint32_t* excesses;    // [S, kHeadBins]
  int vocabulary;        // V
  int parts;
  int partLogits;        // logits of a part, a multiple of 64
  float excessScale;     // of an excess as an integer, so that V of them fit into 32 bits
};

constexpr float kBinsPerNat = 64.0f;
constexpr float kBinWidth = 1.0f / kBinsPerNat;
/** Distance from which on a logit has no mass. */
constexpr float kRange = kItems / kBinsPerNat;
/** Bins that are counted at first: HEAD_BINS of sample.ts. Mostly all that is needed lies within. */
constexpr int kHeadBins = 1024;
constexpr float kHead = kHeadBins / kBinsPerNat;
constexpr float kLargestFloat = 3.402823466e38f;

/** A row's control, and its largest logit. */
struct Draw {
  float temperature;
  float topK;
  float topP;
  float minP;
  float uniform;
  float largest;
  float inverseTemperature;

  PHSA_DEVICE Draw(const SampleParams& params, int64_t row) {
    const float* control = params.control + row * 5;
    temperature = control[0];
    topK = ceilf(control[1]);
    topP = control[2];
    minP = control[3];
    uniform = control[4];
    largest = -INFINITY;
    for (int part = laneIndex(); part < params.parts; part += kLanes) largest = fmaxf(largest, params.largest[row * params.parts + part]);
    largest = warpMax(largest);
    inverseTemperature = fminf(1.0f / temperature, kLargestFloat);
  }

  /** Whether there are shares to draw by: only where the largest is finite. */
  PHSA_DEVICE bool hasShares() const { return temperature > 0.0f && largest - largest == 0.0f; }

  /** Whether all mass is wanted, or that of the first ones alone. */
  PHSA_DEVICE bool wantsRest() const { return !(topK > 0.0f); }

  PHSA_DEVICE float distance(float value) const { return (largest - value) * inverseTemperature; }
};

PHSA_DEVICE int binOf(float distance) { return static_cast<int>(distance * kBinsPerNat); }

/** By how much a logit's mass is less than that at its bin's start, over the latter, as an integer. */
PHSA_DEVICE uint32_t excessOf(float distance, int bin, float scale) {
  const float x = distance - bin * kBinWidth;
  // 1 - exp(-x), where x is below 1/64
  return static_cast<uint32_t>(x * (1.0f - x * (0.5f - x * (1.0f / 6.0f))) * scale + 0.5f);
}

PHSA_DEVICE Totals totalsOf(uint32_t inBin, uint32_t excess, int bin, float scale) {
  return {static_cast<int>(inBin), expf(-bin * kBinWidth) * (inBin - static_cast<double>(excess) / scale)};
}

/** Adds a thread's logits to bins in shared memory, neighbours of one bin together: equal logits would wait for each other. */
struct BinCounter {
  uint32_t* counts;
  uint32_t* excesses;
  float scale;
  int bin = 0;
  uint32_t inBin = 0;
  uint32_t excess = 0;

  PHSA_DEVICE BinCounter(uint32_t* counts, uint32_t* excesses, float scale) : counts(counts), excesses(excesses), scale(scale) {}

  PHSA_DEVICE void add(float distance) {
    const int own = binOf(distance);
    if (own != bin) {
      flush();
      bin = own;
    }
    inBin++;
    excess += excessOf(distance, own, scale);
  }

  PHSA_DEVICE void flush() {
    if (inBin == 0) return;
    atomicAdd(&counts[bin], inBin);
    atomicAdd(&excesses[bin], excess);
    inBin = excess = 0;
  }
};
