// attend_merge.cuh: the end of an item of attend_sm90.cu: what attend_selected found for the choices that its lists left out joins the sums.
//
// The order of partial results is that of the accumulators, so that a thread adds what it loads. Bound: a trip to memory for each two choices of the
// rows of a warp, during which the tensor cores rest; more at a time took registers from the loop over keys.
#pragma once
#include "attend_softmax.cuh"

/** Adds the partial results of a lane's two rows to the sums and totals of whole rows, which are relative to 2^top. */
template <int G>
PHSA_DEVICE void joinLeft(const AttendTilesParams& params, const Consumer<G>& consumer, float (&sums)[64], float (&totals)[2], float (&top)[2]) {
  const int* left = consumer.shared.left[consumer.item - consumer.shared.items] + 64 * consumer.group + consumer.row;
  const int counts[2] = {left[0], left[8]};
  const int most = __reduce_max_sync(~0u, max(counts[0], counts[1]));
  if (most == 0) return;
  const AttendItem& item = *consumer.item;
  const int lane = threadIdx.x & 3;
  const float* lse[2];
  const uint4* partials[2];
#pragma unroll
  for (int half = 0; half < 2; half++) {
    const int row = 64 * consumer.group + consumer.row + 8 * half;
    const int64_t query = static_cast<int64_t>(item.kvHead - params.firstHead) * params.sequences.queryTokens + item.first + row / G;
    const int64_t place = query * params.rules.topK * G + row % G;
    lse[half] = params.partialLse + place;
    partials[half] = static_cast<const uint4*>(params.partials) + place * (kRowBytes / 16) + lane;
  }
  constexpr int kAtOnce = 2;
  for (int first = 0; first < most; first += kAtOnce) {
    uint4 words[2][kAtOnce][4];
    float weights[2][kAtOnce];
#pragma unroll
    for (int half = 0; half < 2; half++) {
#pragma unroll
      for (int i = 0; i < kAtOnce; i++) {
        const bool valid = first + i < counts[half];
        weights[half][i] = valid ? lse[half][(first + i) * G] : -INFINITY;
#pragma unroll
        for (int a = 0; a < 4; a++) {
          words[half][i][a] = make_uint4(0, 0, 0, 0);
          if (valid) words[half][i][a] = __ldcs(partials[half] + (first + i) * G * (kRowBytes / 16) + 4 * a);
        }
      }
    }
    float keep[2];
#pragma unroll
    for (int half = 0; half < 2; half++) {
      float largest = top[half];
#pragma unroll
      for (int i = 0; i < kAtOnce; i++) largest = fmaxf(largest, weights[half][i]);
      keep[half] = largest == top[half] ? 1.0f : exp2Fast(top[half] - largest);
      totals[half] *= keep[half];
      top[half] = largest;
    }
    if (__any_sync(~0u, keep[0] != 1.0f || keep[1] != 1.0f)) {
#pragma unroll
      for (int e = 0; e < 64; e++) sums[e] *= keep[e >> 1 & 1];
    }
#pragma unroll
    for (int half = 0; half < 2; half++) {
#pragma unroll
      for (int i = 0; i < kAtOnce; i++) {
        const float weight = weights[half][i] == -INFINITY ? 0.0f : exp2Fast(weights[half][i] - top[half]);
        totals[half] += weight;
#pragma unroll
        for (int a = 0; a < 4; a++) {
          const uint4 chunk = words[half][i][a];
          const uint32_t pairs[4] = {chunk.x, chunk.y, chunk.z, chunk.w};
#pragma unroll
          for (int j = 0; j < 4; j++) {
            const int e = 4 * (4 * a + j) + 2 * half;
            sums[e] = fmaf(weight, __uint_as_float(pairs[j] << 16), sums[e]);
            sums[e + 1] = fmaf(weight, __uint_as_float(pairs[j] & 0xffff0000u), sums[e + 1]);
          }
        }
      }
    }
  }
}
