// cross_entropy_rows.cuh: rows of logits, eight at a time, for the kernels that turn them into losses and gradients.
#pragma once
#include "elements.cuh"

struct CrossEntropyParams {
  float* logits;         // [rows, stride], a block a row; a gradient of T begins where its row does
  const int* targets;    // [rows]
  const float* weights;  // [rows]
  float* tokenLosses;    // [rows]
  int64_t stride;        // floats from one row to the next, a multiple of 8
  int vocabulary;
};

/** Logits that a thread handles at once. */
constexpr int kRun = 8;

/** Eight logits from `first` on; -infinity beyond the last. */
PHSA_DEVICE void loadRun(const float* row, int64_t first, int vocabulary, float (&values)[kRun]) {
#pragma unroll
  for (int i = 0; i < kRun; i += 4) {
    float four[4] = {-INFINITY, -INFINITY, -INFINITY, -INFINITY};
    if (first + i + 4 <= vocabulary) loadElements(row + first + i, four);
    else
      for (int j = 0; j < 4; j++)
        if (first + i + j < vocabulary) four[j] = row[first + i + j];
#pragma unroll
    for (int j = 0; j < 4; j++) values[i + j] = four[j];
  }
}

/** Writes `count` elements, at most eight. */
template <typename T>
PHSA_DEVICE void storeRun(T* target, const float (&values)[kRun], int64_t count) {
  constexpr int N = kVector<T>;
#pragma unroll
  for (int i = 0; i < kRun; i += N) {
    float some[N];
#pragma unroll
    for (int j = 0; j < N; j++) some[j] = values[i + j];
    if (i + N <= count) storeElements(target + i, some);
    else
      for (int j = 0; j < N; j++)
        if (i + j < count) target[i + j] = fromFloat<T>(some[j]);
  }
}
