// query_gradient_parts.cuh: the warpgroup of attend_query_gradient_sm90.cu that sums the parts of the selected blocks, in the order of the slots, and leaves
// the sums in dq, rounded to bf16, for the two that add theirs. Bound: reading the parts, 256 bytes a query head and choice.
#pragma once
#include "query_gradient_tiles.cuh"

/** Asks for 256 bytes to be brought into the L2 cache. */
PHSA_DEVICE void prefetchRow(const char* row) { asm volatile("prefetch.global.L2 [%0];\nprefetch.global.L2 [%0+128];\n" ::"l"(row)); }

/** Adds eight bf16 values. */
PHSA_DEVICE void addWords(float (&sums)[8], const uint4& words) {
  const uint32_t word[4] = {words.x, words.y, words.z, words.w};
#pragma unroll
  for (int j = 0; j < 4; j++) {
    sums[2 * j] += __uint_as_float(word[j] << 16);
    sums[2 * j + 1] += __uint_as_float(word[j] & 0xFFFF0000);
  }
}

/** A tile's sums of at most `Slots` parts; a thread has the same 16 bytes of `Rows` rows under way. */
template <int Slots, int Rows>
PHSA_DEVICE void addFew(const QueryGradientSlabParams& params, const Tile& tile, const unsigned char* counts, int64_t slabRow, int rows, int shift) {
  constexpr int kRowsAtOnce = kAdders / 16;
  const int thread = threadIdx.x - kProducers;
  const int headMask = (1 << shift) - 1;
  const uint4* parts = static_cast<const uint4*>(params.dqPartials) + thread % 16;
  uint4* target = static_cast<uint4*>(params.dq) + thread % 16;
  for (int from = thread / 16; from < rows; from += Rows * kRowsAtOnce) {
    uint4 words[Rows][Slots];
#pragma unroll
    for (int r = 0; r < Rows; r++) {
      const int row = from + r * kRowsAtOnce;
      const int chosen = row < rows ? counts[row >> shift] : 0;
      const uint4* part = parts + ((((slabRow + (row >> shift)) * params.rules.topK) << shift) + (row & headMask)) * 16;
#pragma unroll
      for (int s = 0; s < Slots; s++) {
        words[r][s] = s < chosen ? __ldcs(part + (static_cast<int64_t>(s) << (shift + 4))) : make_uint4(0, 0, 0, 0);
      }
    }
#pragma unroll
    for (int r = 0; r < Rows; r++) {
      const int row = from + r * kRowsAtOnce;
      if (row >= rows) break;
      float sums[8] = {};
#pragma unroll
      for (int s = 0; s < Slots; s++) addWords(sums, words[r][s]);
      target[(static_cast<int64_t>(tile.firstRow + (row >> shift)) * params.rules.heads + (tile.kvHead << shift) + (row & headMask)) * 16] =
          make_uint4(packBf16(sums[0], sums[1]), packBf16(sums[2], sums[3]), packBf16(sums[4], sums[5]), packBf16(sums[6], sums[7]));
    }
  }
}

/**
 * Writes the sums of the selected blocks' parts to dq, tile by tile, for the warpgroups that add theirs; `Slots` parts of each of `Rows` rows are read at
 * once. Several rows: for at most `Slots` choices, which alone would leave too little under way.
 */
template <int Slots, int Rows>
PHSA_DEVICE void add(const QueryGradientSlabParams& params, unsigned char* bytes, uint32_t shared, int shift) {
  if (!params.dqPartials) return;
  const int thread = threadIdx.x - kProducers;
  const int topK = params.rules.topK;
  const int queries = kRows >> shift;
  const int items = tileCount(params, queries) * params.kvHeads;
  unsigned char* counts = bytes + kCountsAt;
  int tiles = 0;
  for (int item = blockIdx.x; item < items; item += gridDim.x) {
    const Tile tile = tileOf(params, item, queries);
    if (tile.steps == 0) continue;
    if (thread < tile.rows) {
      int chosen = 0;
      if (tile.position + thread >= params.rules.denseBelow) {
        const int* selected =
            params.selected + (static_cast<int64_t>(tile.kvHead) * params.sequences.queryTokens + tile.firstRow + thread) * topK;
#pragma unroll 8
        for (int slot = 0; slot < topK; slot++) chosen += selected[slot] >= 0;
      }
      counts[thread] = chosen;
    }
    syncThreads(1, kAdders);
    const int64_t slabRow = static_cast<int64_t>(tile.kvHead - params.firstKvHead) * params.rows + tile.firstRow - params.firstRow;
    const int rows = tile.rows << shift;
    if constexpr (Rows > 1) addFew<Slots, Rows>(params, tile, counts, slabRow, rows, shift);
    for (int row = Rows > 1 ? rows : thread / 16; row < rows; row += kAdders / 16) {
      const int query = row >> shift;
      const int head = row & ((1 << shift) - 1);
      const int chosen = counts[query];
      const uint4* part = static_cast<const uint4*>(params.dqPartials) + ((((slabRow + query) * topK) << shift) + head) * 16 + thread % 16;
      const int nextRow = row + kAdders / 16;
      if (nextRow < rows) {
        for (int slot = thread % 16; slot < topK; slot += 16) {
          const int64_t next = (((slabRow + (nextRow >> shift)) * topK + slot) << shift) + (nextRow & ((1 << shift) - 1));
          prefetchRow(static_cast<const char*>(params.dqPartials) + next * (kDim * 2));
          if (Slots < 16) break;
        }
      }
      float sums[8] = {};
      for (int first = 0; first < chosen; first += Slots) {
        uint4 words[Slots];
#pragma unroll
        for (int s = 0; s < Slots; s++) {
          words[s] = first + s < chosen ? __ldcs(part + (static_cast<int64_t>(s) << (shift + 4))) : make_uint4(0, 0, 0, 0);
        }
#pragma unroll
        for (int s = 0; s < Slots; s++) addWords(sums, words[s]);
        part += static_cast<int64_t>(Slots) << (shift + 4);
      }
      uint4* target = static_cast<uint4*>(params.dq) +
                      (static_cast<int64_t>(tile.firstRow + query) * params.rules.heads + (tile.kvHead << shift) + head) * 16 + thread % 16;
      *target = make_uint4(packBf16(sums[0], sums[1]), packBf16(sums[2], sums[3]), packBf16(sums[4], sums[5]), packBf16(sums[6], sums[7]));
    }
    // At most one tile ahead of those who take the sums; behind the barrier that follows, counts may be written again.
    if (tiles > 0) waitForPhase(shared + kTakenAt, (tiles - 1) & 1);
    tiles++;
    arrive(shared + kAddedAt);
    syncThreads(1, kAdders);
  }
}
