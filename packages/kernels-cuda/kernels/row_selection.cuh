// row_selection.cuh: the topK blocks of a warp's 16 rows: which scores of a tile get into the lists of row_lists.cuh, and which of these are written in the
// end, in ascending order. Only *_sm90.cu include it.
//
// The threshold of a row is the least of the 4 x 4 largest maxima of 8 columns that its lanes have met, so at least 16 blocks reach it. Where lists fill all
// the same (rising or equal scores, more than 16 blocks to choose) thinning them raises it.
#pragma once
#include "row_lists.cuh"

/** Columns of a row that a lane looks at together, and how many of those are in a tile. */
constexpr int kUnit = 8;
constexpr int kUnits = 4;
/** Maxima that a lane keeps of each of its rows: up to 4 x kKept blocks can be chosen by them. */
constexpr int kKept = 4;

/** A key of each row that exactly topK of its entries reach, 0 where there are no more than that; `keys` of a lane's lists, 0 behind their ends. */
template <int Rows, int Capacity>
PHSA_DEVICE void pivots(const uint32_t (&keys)[Rows][Capacity], const int (&total)[Rows], int longest, int topK, uint32_t (&pivot)[Rows]) {
  uint32_t low[Rows];
  uint32_t high[Rows];
  bool open[Rows];
  bool anyOpen = false;
#pragma unroll
  for (int half = 0; half < Rows; half++) {
    low[half] = 0xFFFFFFFFu;
    high[half] = 0;
#pragma unroll
    for (int i = 0; i < Capacity; i++) {
      low[half] = min(low[half], keys[half][i] - 1);
      high[half] = max(high[half], keys[half][i]);
    }
    low[half] = quadLeast(low[half]);
    high[half] = quadLargest(high[half]) + 1;
    pivot[half] = 0;
    open[half] = total[half] > topK;
    anyOpen = anyOpen || open[half];
  }
#pragma unroll 1
  while (__any_sync(kWarpMask, anyOpen)) {
    uint32_t middle[Rows];
    int count[Rows];
#pragma unroll
    for (int half = 0; half < Rows; half++) {
      middle[half] = low[half] + (high[half] - low[half]) / 2;
      count[half] = 0;
    }
#pragma unroll
    for (int chunk = 0; chunk < Capacity; chunk += 4) {
      if (chunk >= longest) break;
#pragma unroll
      for (int i = chunk; i < chunk + 4; i++) {
#pragma unroll
        for (int half = 0; half < Rows; half++) count[half] += keys[half][i] >= middle[half];
      }
    }
    anyOpen = false;
#pragma unroll
    for (int half = 0; half < Rows; half++) {
      const int all = quadSum(count[half]);
      if (!open[half]) continue;
      if (all > topK) {
        low[half] = middle[half];
      } else {
        high[half] = middle[half];
      }
      if (all == topK || high[half] - low[half] <= 1) {
        pivot[half] = middle[half];
        open[half] = false;
      }
      anyOpen = anyOpen || open[half];
    }
  }
}

/** Orders two numbers. */
PHSA_DEVICE void sortPair(int& lower, int& upper) {
  const int least = min(lower, upper);
  upper = max(lower, upper);
  lower = least;
}

/** Sorts 16 numbers, four of each of four neighbouring lanes, ascending along the lanes. */
PHSA_DEVICE void sortQuad(int (&v)[4]) {
  const int lane = threadIdx.x & 3;
  sortPair(v[0], v[1]);
  sortPair(v[2], v[3]);
  sortPair(v[0], v[3]);
  sortPair(v[1], v[2]);
  sortPair(v[0], v[1]);
  sortPair(v[2], v[3]);
  // Merges of sorted runs: the first step compares with the other run backwards.
#pragma unroll
  for (int run = 1; run <= 2; run *= 2) {
    int other[4];
#pragma unroll
    for (int i = 0; i < 4; i++) other[i] = __shfl_xor_sync(kWarpMask, v[3 - i], 2 * run - 1);
#pragma unroll
    for (int i = 0; i < 4; i++) v[i] = lane & run ? max(v[i], other[i]) : min(v[i], other[i]);
    if (run == 2) {
#pragma unroll
      for (int i = 0; i < 4; i++) other[i] = __shfl_xor_sync(kWarpMask, v[i], 1);
#pragma unroll
      for (int i = 0; i < 4; i++) v[i] = lane & 1 ? max(v[i], other[i]) : min(v[i], other[i]);
    }
    sortPair(v[0], v[2]);
    sortPair(v[1], v[3]);
    sortPair(v[0], v[1]);
    sortPair(v[2], v[3]);
  }
}

/**
 * Writes a row's blocks whose keys reach its pivot, at most 16 and ascending, then -1 up to `extent`; `keys` of a lane's list, 0 behind its end.
 * @param row where the first lane of the row has the first of four words in shared memory, kEntryStride apart, that nobody needs any more
 * @param target null for a row that is not there
 */
template <int Capacity>
PHSA_DEVICE void writeChosen(const uint32_t (&keys)[Capacity], uint32_t pivot, int longest, uint32_t row, uint32_t mask, int extent, int* target) {
  const int lane = threadIdx.x & 31;
  int count = 0;
#pragma unroll
  for (int chunk = 0; chunk < Capacity; chunk += 4) {
    if (chunk >= longest) break;
#pragma unroll
    for (int i = chunk; i < chunk + 4; i++) count += keys[i] != 0 && keys[i] >= pivot;
  }
  const int first = __shfl_sync(kWarpMask, count, lane & 28);
  const int second = __shfl_sync(kWarpMask, count, (lane & 28) + 1);
  const int third = __shfl_sync(kWarpMask, count, (lane & 28) + 2);
  const int chosen = quadSum(count);
  int place = (lane & 3 ? first : 0) + (lane & 2 ? second : 0) + ((lane & 3) == 3 ? third : 0);
  // Entry p of the row goes to slot p % 4 of lane p / 4, when all lanes have read their lists.
  __syncwarp();
#pragma unroll
  for (int chunk = 0; chunk < Capacity; chunk += 4) {
    if (chunk >= longest) break;
#pragma unroll
    for (int i = chunk; i < chunk + 4; i++) {
      if (keys[i] == 0 || keys[i] < pivot) continue;
      storeShared(row + place / 4 * 4 + place % 4 * kEntryStride, wordOf(keys[i], mask) & mask);
      place++;
    }
  }
  __syncwarp();
  int blocks[4];
#pragma unroll
  for (int i = 0; i < 4; i++) {
    const int word = static_cast<int>(loadShared(row + (lane & 3) * 4 + i * kEntryStride));
    blocks[i] = (lane & 3) * 4 + i < chosen ? word : 0x7FFFFFFF;
  }
  sortQuad(blocks);
  if (!target) return;
#pragma unroll
  for (int i = 0; i < 4; i++) {
    const int index = (lane & 3) * 4 + i;
    if (index < extent) target[index] = index < chosen ? blocks[i] : -1;
  }
}

/** The lists of a warp's 16 rows and what decides what gets into them. */
template <int Capacity, bool Maxima>
struct Selection {
  /** Units of a tile for which room is made at once, and entries of a list that leave room for them. */
  static constexpr int kUnitsAtOnce = Capacity >= 40 ? 2 : 1;
  static constexpr int kMost = Capacity - kUnit * kUnitsAtOnce;
  RowLists lists;
  float kept[2][kKept];  // largest maxima, descending
  uint32_t mask;         // index bits of a word
  int topK;

  PHSA_DEVICE Selection(uint32_t shared, int blocks, int most) : topK(most) {
    const int lane = threadIdx.x & 31;
    mask = blocks > 1 ? 0xFFFFFFFFu >> __clz(blocks - 1) : 0;
#pragma unroll
    for (int half = 0; half < 2; half++) {
      const uint32_t start = shared + half * Capacity * kEntryStride + lane * 4;
      lists.rows[half] = RowList{start, start, kLowest};
#pragma unroll
      for (int i = 0; i < kKept; i++) kept[half][i] = kNone;
    }
  }

  /** A tile's scores, -inf for what is no candidate; its first column is `column` for this lane. */
  PHSA_DEVICE void offer(const float (&scores)[64], int column) {
    float largest[2][kUnits];
#pragma unroll
    for (int half = 0; half < 2; half++) {
#pragma unroll
      for (int unit = 0; unit < kUnits; unit++) {
        float top = kNone;
#pragma unroll
        for (int i = 0; i < kUnit; i++) top = fmaxf(top, scores[(unit * 4 + i / 2) * 4 + half * 2 + i % 2]);
        largest[half][unit] = top;
        if constexpr (Maxima) {
#pragma unroll
          for (int i = 0; i < kKept; i++) {
            const float upper = fmaxf(kept[half][i], top);
            top = fminf(kept[half][i], top);
            kept[half][i] = upper;
          }
        }
      }
      if (Maxima) lists.rows[half].threshold = fmaxf(lists.rows[half].threshold, quadLeast(kept[half][kKept - 1]));
    }
#pragma unroll
    for (int unit = 0; unit < kUnits; unit++) {
      if (unit % kUnitsAtOnce == 0) {
        const uint32_t fullest = max(lists.rows[0].end - lists.rows[0].start, lists.rows[1].end - lists.rows[1].start);
        if (__any_sync(kWarpMask, fullest > kMost * kEntryStride)) {
          makeRoom(lists, kMost, Maxima ? quadLeast(kept[0][kKept - 1]) : kNone, Maxima ? quadLeast(kept[1][kKept - 1]) : kNone, mask, topK);
        }
      }
      const bool reaches = largest[0][unit] >= lists.rows[0].threshold || largest[1][unit] >= lists.rows[1].threshold;
      if (!__any_sync(kWarpMask, reaches)) continue;
#pragma unroll
      for (int i = 0; i < kUnit; i++) {
        const int j = unit * 4 + i / 2;
#pragma unroll
        for (int half = 0; half < 2; half++) {
          const float score = scores[j * 4 + half * 2 + i % 2];
          appendWhere(lists.rows[half].end, score, lists.rows[half].threshold, (__float_as_uint(score) & ~mask) | (column + j * 8 + i % 2));
        }
      }
    }
  }

  /** Writes the row of `selected`, which has `extent` places, of each of the warp's queries; null for none. */
  PHSA_DEVICE void write(int extent, int* target0, int* target1) {
    if constexpr (Maxima) {
      writeFew(extent, target0, target1);
    } else {
      writeMany(lists.rows[0], extent, target0);
      writeMany(lists.rows[1], extent, target1);
    }
  }

  /** At most 16 blocks a row: found in registers, then sorted by four lanes. */
  PHSA_DEVICE void writeFew(int extent, int* target0, int* target1) {
    const int lane = threadIdx.x & 31;
    dropBelow(lists, quadLeast(kept[0][kKept - 1]), quadLeast(kept[1][kKept - 1]), mask);
    const int longest = __reduce_max_sync(kWarpMask, max(entries(lists.rows[0]), entries(lists.rows[1])));
    uint32_t keys[2][Capacity];
    int total[2];
#pragma unroll
    for (int half = 0; half < 2; half++) {
      const RowList& list = lists.rows[half];
#pragma unroll
      for (int i = 0; i < Capacity; i++) keys[half][i] = 0;
#pragma unroll
      for (int chunk = 0; chunk < Capacity; chunk += 4) {
        if (chunk >= longest) break;
#pragma unroll
        for (int i = chunk; i < chunk + 4; i++) {
          const uint32_t word = loadShared(list.start + i * kEntryStride);
          keys[half][i] = list.start + i * kEntryStride < list.end ? keyOf(word, mask) : 0;
        }
      }
      total[half] = quadSum(entries(list));
    }
    uint32_t pivot[2];
    pivots(keys, total, longest, topK, pivot);
#pragma unroll
    for (int half = 0; half < 2; half++) {
      writeChosen(keys[half], pivot[half], longest, lists.rows[half].start - (lane & 3) * 4, mask, extent, half ? target1 : target0);
    }
  }

  PHSA_DEVICE void writeMany(RowList& list, int extent, int* target) {
    const int lane = threadIdx.x & 31;
    thinExactly(list, mask, topK);
    __syncwarp();
    const int count = entries(list);
    int counts[4];
#pragma unroll
    for (int i = 0; i < 4; i++) counts[i] = __shfl_sync(kWarpMask, count, (lane & 28) + i);
    const int total = counts[0] + counts[1] + counts[2] + counts[3];
    const int longest = max(max(counts[0], counts[1]), max(counts[2], counts[3]));
    const uint32_t row = list.start - (lane & 3) * 4;
    if (!target) return;
    for (int own = 0; own < count; own++) {
      const uint32_t block = loadShared(list.start + own * kEntryStride) & mask;
      int rank = 0;
      for (int slot = 0; slot < longest; slot++) {
        uint4 words;
        asm volatile("ld.shared.v4.b32 {%0, %1, %2, %3}, [%4];\n"
                     : "=r"(words.x), "=r"(words.y), "=r"(words.z), "=r"(words.w)
                     : "r"(row + slot * kEntryStride)
                     : "memory");
        rank += (slot < counts[0] && (words.x & mask) < block) + (slot < counts[1] && (words.y & mask) < block) +
                (slot < counts[2] && (words.z & mask) < block) + (slot < counts[3] && (words.w & mask) < block);
      }
      target[rank] = static_cast<int>(block);
    }
    for (int index = total + (lane & 3); index < extent; index += 4) target[index] = -1;
  }
};
