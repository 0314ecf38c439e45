// attend_products.cuh: the products of a step of attend_sm90.cu for the 64 rows of a warpgroup: queries with keys, probabilities with values.
#pragma once
#include "attend_tiles.cuh"
#include "wgmma.cuh"

constexpr int kHeadDim = 128;

/** scores = queries keys^T of a step */
PHSA_DEVICE void multiplyKeys(float (&scores)[64], uint32_t queries, uint32_t keys) {
  const uint32_t a = alongK(queries);
  const uint32_t b = alongK(keys);
#pragma unroll
  for (int i = 0; i < kHeadDim / 16; i++) {
    wgmma(scores, operand(a + ((i >> 2) * 64 * 128 + (i & 3) * 32) / 16), operand(b + ((i >> 2) * kStepKeys * 128 + (i & 3) * 32) / 16), i > 0);
  }
  wgmmaCommit();
}

/** sums += probabilities values of a step */
PHSA_DEVICE void multiplyValues(float (&sums)[64], const uint32_t (&probabilities)[8][4], uint32_t values) {
  const uint32_t b = acrossK(values, kStepKeys);
#pragma unroll
  for (int i = 0; i < kStepKeys / 16; i++) wgmma<1>(sums, probabilities[i], operand(b + 2048 * i / 16), 1);
  wgmmaCommit();
}

/** The scores of this warp's 16 rows once more, for where they were given up too early. */
PHSA_DEVICE void multiplyKeysAgain(float (&scores)[64], uint32_t queries, uint32_t keys) {
  const int lane = threadIdx.x & 31;
  const int firstRow = (threadIdx.x >> 5 & 3) * 16;
#pragma unroll
  for (int e = 0; e < 64; e++) scores[e] = 0.0f;
#pragma unroll 1
  for (int i = 0; i < kHeadDim / 16; i++) {
    uint32_t a[4];
    loadMatrix(a, queries + operandOffset(firstRow + (lane & 15), 2 * i + (lane >> 4), 64));
#pragma unroll
    for (int unit = 0; unit < kStepUnits; unit++) {
      uint32_t b[4];
      loadMatrix(b, keys + operandOffset(unit * kUnit + (lane & 7) + (lane >> 4) * 8, 2 * i + (lane >> 3 & 1), kStepKeys));
#pragma unroll
      for (int part = 0; part < 2; part++) {
        const int e = 8 * unit + 4 * part;
        float d[4] = {scores[e], scores[e + 1], scores[e + 2], scores[e + 3]};
        mma(d, a, b[2 * part], b[2 * part + 1]);
#pragma unroll
        for (int j = 0; j < 4; j++) scores[e + j] = d[j];
      }
    }
  }
}
