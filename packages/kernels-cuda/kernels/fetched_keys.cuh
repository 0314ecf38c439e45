// fetched_keys.cuh: keys and values on their way from pages into the registers of a warp's products (attend_pages.cuh).
#pragma once
#include "elements.cuh"
#include "warp.cuh"

/** Keys of a run, which lie in one block. */
constexpr int kRun = 8;

/** The eight keys that a warp finds at an index of what a query sees. */
struct Run {
  int row;    // of k and v, of the first one
  int valid;  // keys that the query sees: the first ones, 0 to 8
};

/** 16 keys and values as a warp's products take them. */
template <int D>
struct FetchedKeys {
  /** Words of two dimensions that a lane has of each value. */
  static constexpr int kWords = D / 16;

  uint4 keys[2][D / 32];
  uint32_t rows[2][2][kWords];

  /** Two runs of one KV head's. @param k and v [.., Hkv, D] */
  PHSA_DEVICE void load(const Run (&runs)[2], const bf16* k, const bf16* v, int kvHeads, int kvHead) {
    const int g = laneIndex() / 4;
    const int c = laneIndex() % 4;
#pragma unroll
    for (int half = 0; half < 2; half++) {
      const int64_t row = static_cast<int64_t>(runs[half].row + g) * kvHeads + kvHead;
      const uint4* source = reinterpret_cast<const uint4*>(k + row * D) + c;
#pragma unroll
      for (int j = 0; j < D / 32; j++) keys[half][j] = g < runs[half].valid ? source[4 * j] : uint4{0, 0, 0, 0};
    }
#pragma unroll
    for (int half = 0; half < 2; half++) {
#pragma unroll
      // Values of unseen keys may be NaN: a probability of 0 would not keep them out.
      for (int i = 0; i < 2; i++) loadValue(v, static_cast<int64_t>(runs[half].row + 2 * c + i) * kvHeads + kvHead, 2 * c + i < runs[half].valid, rows[half][i]);
    }
  }

  /** This lane's part of a value, zero where it is not to be read. */
  PHSA_DEVICE static void loadValue(const bf16* v, int64_t row, bool used, uint32_t (&words)[kWords]) {
    const unsigned char* source = reinterpret_cast<const unsigned char*>(v + row * D);
    const int g = laneIndex() / 4;
    if constexpr (D == 32) {
      const uint2 four = used ? reinterpret_cast<const uint2*>(source)[g] : uint2{0, 0};
      words[0] = four.x;
      words[1] = four.y;
    } else {
#pragma unroll
      for (int half = 0; half < D / 64; half++) {
        const uint4 eight = used ? reinterpret_cast<const uint4*>(source)[8 * half + g] : uint4{0, 0, 0, 0};
        words[4 * half] = eight.x;
        words[4 * half + 1] = eight.y;
        words[4 * half + 2] = eight.z;
        words[4 * half + 3] = eight.w;
      }
    }
  }
};
