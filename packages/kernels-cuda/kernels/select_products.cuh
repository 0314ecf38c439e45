// select_products.cuh: what the kernels of select_blocks_sm90.cu and select_pair_sm90.cu share: their parameters, the scores of a tile and their masks.
#pragma once
#include "row_lists.cuh"
#include "select_queries.cuh"
#include "sequences.cuh"
#include "wgmma.cuh"

struct SelectTensorParams {
  const void* q;      // bf16 [Tq, Hq, D]
  const void* tiles;  // of select_tiles_sm90
  int* selected;      // [Hkv, Tq, topK]
  Sequences sequences;
  Rules rules;
};

/** scores = queries times the tile's representatives */
PHSA_DEVICE void product(float (&scores)[64], uint32_t queries, uint32_t tile) {
  wgmmaFence();
  wgmmaFresh(scores, descriptor(queries, 16, 1024), descriptor(tile, 16, 1024));
#pragma unroll
  for (int k = 1; k < 8; k++) {
    wgmmaHalf(scores, descriptor(queries + k / 4 * kRows * 128 + k % 4 * 32, 16, 1024), descriptor(tile + k / 4 * kTile * 128 + k % 4 * 32, 16, 1024), 1);
  }
  wgmmaCommit();
}

/** Sets columns from `end` of their row on, and those before `start`, to -inf; the first column of this lane is `column`. */
PHSA_DEVICE void maskScores(float (&scores)[64], int column, int start, int end0, int end1) {
  end0 -= column;
  end1 -= column;
#pragma unroll
  for (int e = 0; e < 64; e++) {
    if (e / 4 * 8 + e % 2 >= (e & 2 ? end1 : end0)) scores[e] = kNone;
  }
  if (column >= start) return;
  start -= column;
#pragma unroll
  for (int e = 0; e < 64; e++) {
    if (e / 4 * 8 + e % 2 < start) scores[e] = kNone;
  }
}
