// select_queries.cuh: the queries of a warpgroup of select_blocks_sm90.cu and select_pair_sm90.cu as operands in f16: one head's, or the sum of the group's.
#pragma once
#include "select_tiles.cuh"

/** Queries of a warpgroup, and the bytes of their operand. */
constexpr int kRows = 64;
constexpr int kQueryBytes = kRows * kDim * 2;

/** Brings the queries of a warpgroup into shared memory as f16: each of its threads has the same 16 bytes of 8 rows. */
struct QueryLoader {
  const unsigned char* q;
  int64_t offset;  // bytes, of the first row's first head
  int stride;      // bytes a row
  int rows;        // that there are
  uint4 raw[8];

  PHSA_DEVICE int row(int i) const { return threadIdx.x % 128 / 16 + 8 * i; }

  /** Starts loading head `head` of the group. */
  PHSA_DEVICE void fetch(int head) {
    const int chunk = threadIdx.x % 16;
#pragma unroll
    for (int i = 0; i < 8; i++) {
      raw[i] = uint4{0, 0, 0, 0};
      if (row(i) < rows) raw[i] = *reinterpret_cast<const uint4*>(q + offset + static_cast<int64_t>(row(i)) * stride + head * kDim * 2 + chunk * 16);
    }
  }

  /** Starts loading both heads of a group of two: of half as many queries, 8 rows apart. */
  PHSA_DEVICE void fetchPairs() {
    const int chunk = threadIdx.x % 16;
#pragma unroll
    for (int i = 0; i < 8; i++) {
      const int query = i / 2 * 8 + threadIdx.x % 128 / 16;
      raw[i] = uint4{0, 0, 0, 0};
      if (query < rows) raw[i] = *reinterpret_cast<const uint4*>(q + offset + static_cast<int64_t>(query) * stride + i % 2 * kDim * 2 + chunk * 16);
    }
  }

  /** Stores what was fetched. */
  PHSA_DEVICE void put(unsigned char* target) const {
#pragma unroll
    for (int i = 0; i < 8; i++) {
      const uint32_t pairs[4] = {raw[i].x, raw[i].y, raw[i].z, raw[i].w};
      uint32_t packed[4];
#pragma unroll
      for (int p = 0; p < 4; p++) packed[p] = packHalf(__uint_as_float(pairs[p] << 16), __uint_as_float(pairs[p] & 0xFFFF0000u));
      *reinterpret_cast<uint4*>(target + operandOffset(row(i), threadIdx.x % 16, kRows)) = uint4{packed[0], packed[1], packed[2], packed[3]};
    }
  }

  /** Stores the sum of the group's heads, rounded once. */
  PHSA_DEVICE void sum(int group, unsigned char* target) {
    float sums[8][8] = {};
    for (int head = 0; head < group; head++) {
      fetch(head);
#pragma unroll
      for (int i = 0; i < 8; i++) {
        const uint32_t pairs[4] = {raw[i].x, raw[i].y, raw[i].z, raw[i].w};
#pragma unroll
        for (int p = 0; p < 4; p++) {
          sums[i][2 * p] += __uint_as_float(pairs[p] << 16);
          sums[i][2 * p + 1] += __uint_as_float(pairs[p] & 0xFFFF0000u);
        }
      }
    }
#pragma unroll
    for (int i = 0; i < 8; i++) {
      *reinterpret_cast<uint4*>(target + operandOffset(row(i), threadIdx.x % 16, kRows)) =
          uint4{packHalf(sums[i][0], sums[i][1]), packHalf(sums[i][2], sums[i][3]), packHalf(sums[i][4], sums[i][5]), packHalf(sums[i][6], sums[i][7])};
    }
  }
};
