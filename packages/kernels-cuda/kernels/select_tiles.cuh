// select_tiles.cuh: tiles of 128 blocks' representatives, the operands in f16 of select_blocks_sm90.cu and
// select_pair_sm90.cu: where they lie, and how numbers are rounded.
#pragma once
#include "hopper.cuh"
#include "sequences.cuh"

constexpr int kDim = 128;
/** Blocks of a tile, and its bytes. */
constexpr int kTile = 128;
constexpr int kTileBytes = kTile * kDim * 2;

/** Tiles of a sequence and KV head lie together, those of the sequences as rowTile numbers them. */
PHSA_DEVICE int64_t tileOffset(const Sequences& sequences, int kvHead, int sequence, int tile) {
  const int64_t all = sequences.blocks / kTile + sequences.sequences + 1;
  return (kvHead * all + sequences.blockStarts[sequence] / kTile + sequence + tile) * kTileBytes;
}

/** Two numbers rounded to f16, the first in the low half: those out of range to the largest, NaN to 0. */
PHSA_DEVICE uint32_t packHalf(float low, float high) {
  const float most = 65504.0f;
  low = low == low ? fminf(fmaxf(low, -most), most) : 0.0f;
  high = high == high ? fminf(fmaxf(high, -most), most) : 0.0f;
  uint32_t packed;
  asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(packed) : "f"(high), "f"(low));
  return packed;
}
