// row_lists.cuh: the best blocks of a warp's 16 rows, as scores come from wgmma: lane l has rows l / 4 and l / 4 + 8. Only *_sm90.cu include it.
//
// Four lanes share a row, each with a list of its own for every fourth pair of columns: a score at or above the row's threshold is appended, three
// instructions and no ballot. The threshold is the least of the 4 x 4 largest maxima of 8 columns that the lanes have met, so at least 16 blocks reach it;
// where lists fill all the same (rising or equal scores, more than 16 blocks to choose) they are thinned to exactly topK.
// A list entry is one word: the block index in the low bits, the score's bits above it. Entries of a row are therefore different, and of equal
// scores the lower index is the greater one.
#pragma once
#include "platform.cuh"

/** Columns of a row that a lane looks at together, and how many of those are in a tile. */
constexpr int kUnit = 8;
constexpr int kUnits = 4;
/** Maxima that a lane keeps of each of its rows: up to 4 x kKept blocks can be chosen by them. */
constexpr int kKept = 4;
constexpr unsigned kWarpMask = 0xFFFFFFFFu;
/** Below every score. */
constexpr float kLowest = -3.0e38f;
/** Of columns that are no candidates: below every threshold. */
constexpr float kNone = -INFINITY;
/** Bytes from one entry of a lane's list to the next: lane l of a warp has bank l. */
constexpr int kEntryStride = 128;

PHSA_DEVICE uint32_t loadShared(uint32_t address) {
  uint32_t word;
  asm volatile("ld.shared.b32 %0, [%1];\n" : "=r"(word) : "r"(address) : "memory");
  return word;
}

PHSA_DEVICE void storeShared(uint32_t address, uint32_t word) { asm volatile("st.shared.b32 [%0], %1;\n" ::"r"(address), "r"(word) : "memory"); }

/** Appends `word` at `end` and moves it on where the score reaches the threshold. */
PHSA_DEVICE void appendWhere(uint32_t& end, float score, float threshold, uint32_t word) {
  asm volatile("{\n.reg .pred p;\nsetp.ge.f32 p, %1, %2;\n@p st.shared.b32 [%0], %3;\n@p add.u32 %0, %0, 128;\n}\n"
               : "+r"(end)
               : "f"(score), "f"(threshold), "r"(word)
               : "memory");
}

/** Numbers in the order of (score, lower index first), from a list's words; `mask` has the index bits. */
PHSA_DEVICE uint32_t keyOf(uint32_t word, uint32_t mask) { return word ^ (word >> 31 ? 0xFFFFFFFFu : 0x80000000u ^ mask); }

PHSA_DEVICE uint32_t wordOf(uint32_t key, uint32_t mask) { return key ^ (key >> 31 ? 0x80000000u ^ mask : 0xFFFFFFFFu); }

/** The least score whose words come before all that tie with `key`. */
PHSA_DEVICE float scoreAbove(uint32_t key, uint32_t mask) {
  const uint32_t next = (key | mask) + 1;
  return __uint_as_float(next >> 31 ? next ^ 0x80000000u : ~next);
}

template <typename T>
PHSA_DEVICE T quadSum(T value) {
  value += __shfl_xor_sync(kWarpMask, value, 1);
  return value + __shfl_xor_sync(kWarpMask, value, 2);
}
PHSA_DEVICE float quadLeast(float value) {
  value = fminf(value, __shfl_xor_sync(kWarpMask, value, 1));
  return fminf(value, __shfl_xor_sync(kWarpMask, value, 2));
}
PHSA_DEVICE uint32_t quadLeast(uint32_t value) {
  value = min(value, __shfl_xor_sync(kWarpMask, value, 1));
  return min(value, __shfl_xor_sync(kWarpMask, value, 2));
}
PHSA_DEVICE uint32_t quadLargest(uint32_t value) {
  value = max(value, __shfl_xor_sync(kWarpMask, value, 1));
  return max(value, __shfl_xor_sync(kWarpMask, value, 2));
}

/** A lane's list of one row: where it starts and ends in shared memory, and what a score must reach to get into it. */
struct RowList {
  uint32_t start;
  uint32_t end;
  float threshold;
};

PHSA_DEVICE int entries(const RowList& list) { return static_cast<int>(list.end - list.start) / kEntryStride; }

/** Drops the entries of a lane's list that `stays(word)` is false for. */
template <typename Stays>
PHSA_DEVICE void filterList(RowList& list, Stays stays) {
  uint32_t end = list.start;
#pragma unroll 2
  for (uint32_t at = list.start; at < list.end; at += kEntryStride) {
    const uint32_t word = loadShared(at);
    if (stays(word)) {
      storeShared(end, word);
      end += kEntryStride;
    }
  }
  list.end = end;
}

struct RowLists {
  RowList rows[2];
};

/** Drops what lies below scores that at least topK blocks of the row reach; four entries at a time, because each waits for its load. */
PHSA_DEVICE void dropBelow(RowLists& lists, float least0, float least1, uint32_t mask) {
  const int longest = __reduce_max_sync(kWarpMask, max(entries(lists.rows[0]), entries(lists.rows[1])));
  const float least[2] = {fmaxf(__uint_as_float(__float_as_uint(least0) & ~mask), kLowest), fmaxf(__uint_as_float(__float_as_uint(least1) & ~mask), kLowest)};
  uint32_t ends[2] = {lists.rows[0].start, lists.rows[1].start};
#pragma unroll 1
  for (int chunk = 0; chunk < longest; chunk += 4) {
    uint32_t words[2][4];
#pragma unroll
    for (int i = 0; i < 8; i++) words[i % 2][i / 2] = loadShared(lists.rows[i % 2].start + (chunk + i / 2) * kEntryStride);
#pragma unroll
    for (int i = 0; i < 8; i++) {
      const RowList& list = lists.rows[i % 2];
      const uint32_t word = words[i % 2][i / 2];
      const float score = list.start + (chunk + i / 2) * kEntryStride < list.end ? __uint_as_float(word & ~mask) : kNone;
      appendWhere(ends[i % 2], score, least[i % 2], word);
    }
  }
  lists.rows[0].end = ends[0];
  lists.rows[1].end = ends[1];
}

/** Leaves exactly topK of each row's entries where there are more, and raises its threshold above what only ties with the last of them. */
PHSA_DEVICE void thinExactly(RowList& list, uint32_t mask, int topK) {
  const int total = quadSum(entries(list));
  uint32_t low = 0xFFFFFFFFu;
  uint32_t high = 0;
#pragma unroll 1
  for (uint32_t at = list.start; at < list.end; at += kEntryStride) {
    const uint32_t key = keyOf(loadShared(at), mask);
    low = min(low, key);
    high = max(high, key);
  }
  low = quadLeast(low);
  high = quadLargest(high) + 1;
  // At or above `low` are more than topK, at or above `high` fewer; keys differ, so that some pivot has exactly topK.
  bool open = total > topK;
  uint32_t pivot = 0;
#pragma unroll 1
  while (__any_sync(kWarpMask, open)) {
    const uint32_t middle = low + (high - low) / 2;
    int count = 0;
#pragma unroll 4
    for (uint32_t at = list.start; at < list.end; at += kEntryStride) count += keyOf(loadShared(at), mask) >= middle;
    __syncwarp();
    count = quadSum(count);
    if (open) {
      if (count > topK) {
        low = middle;
      } else {
        high = middle;
      }
      if (count == topK || high - low <= 1) {
        pivot = middle;
        open = false;
      }
    }
  }
  uint32_t least = 0xFFFFFFFFu;
  filterList(list, [&](uint32_t word) {
    const uint32_t key = keyOf(word, mask);
    if (key >= pivot) least = min(least, key);
    return key >= pivot;
  });
  __syncwarp();
  least = quadLeast(least);
  if (total >= topK) list.threshold = fmaxf(list.threshold, scoreAbove(least, mask));
}

/** A key of each row that exactly topK of its entries reach, 0 where there are no more than that; `keys` of a lane's lists, 0 behind their ends. */
template <int Capacity>
PHSA_DEVICE void pivots(const uint32_t (&keys)[2][Capacity], const int (&total)[2], int longest, int topK, uint32_t (&pivot)[2]) {
  uint32_t low[2];
  uint32_t high[2];
  bool open[2];
#pragma unroll
  for (int half = 0; half < 2; half++) {
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
  }
#pragma unroll 1
  while (__any_sync(kWarpMask, open[0] || open[1])) {
    const uint32_t middle[2] = {low[0] + (high[0] - low[0]) / 2, low[1] + (high[1] - low[1]) / 2};
    int count[2] = {0, 0};
#pragma unroll
    for (int chunk = 0; chunk < Capacity; chunk += 4) {
      if (chunk >= longest) break;
#pragma unroll
      for (int i = chunk; i < chunk + 4; i++) {
        count[0] += keys[0][i] >= middle[0];
        count[1] += keys[1][i] >= middle[1];
      }
    }
#pragma unroll
    for (int half = 0; half < 2; half++) {
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

/** Moves entries from the lanes of a row that have more than `most` to those that have fewer. */
PHSA_DEVICE void balance(RowList& list, int most) {
  const int count = entries(list);
  const int lane = threadIdx.x & 31;
  const int excess = max(0, count - most);
  int before = 0;
  int counts[4];
#pragma unroll
  for (int i = 0; i < 4; i++) {
    counts[i] = __shfl_sync(kWarpMask, count, (lane & 28) + i);
    if (i < (lane & 3)) before += max(0, counts[i] - most);
  }
  for (int i = 0; i < excess; i++) {
    int rest = before + i;
#pragma unroll
    for (int other = 0; other < 4; other++) {
      const int room = max(0, most - counts[other]);
      if (rest >= 0 && rest < room) {
        storeShared(list.start + (other - (lane & 3)) * 4 + (counts[other] + rest) * kEntryStride,
                    loadShared(list.start + (most + i) * kEntryStride));
      }
      rest -= room;
    }
  }
  int given = 0;
  int taken = 0;
#pragma unroll
  for (int i = 0; i < 4; i++) {
    given += max(0, counts[i] - most);
    if (i < (lane & 3)) taken += max(0, most - counts[i]);
  }
  const int room = max(0, most - count);
  list.end = list.start + (min(count, most) + min(room, max(0, given - taken))) * kEntryStride;
  __syncwarp();
}

/** Leaves at most `most` entries in every list of the warp; `least` as of dropBelow. */
PHSA_DEVICE void makeRoom(RowLists& lists, int most, float least0, float least1, uint32_t mask, int topK) {
  dropBelow(lists, least0, least1, mask);
  if (!__any_sync(kWarpMask, max(entries(lists.rows[0]), entries(lists.rows[1])) > most)) return;
#pragma unroll 1
  for (int half = 0; half < 2; half++) {
    RowList list = half ? lists.rows[1] : lists.rows[0];
    thinExactly(list, mask, topK);
    if (__any_sync(kWarpMask, entries(list) > most)) balance(list, most);
    if (half) {
      lists.rows[1] = list;
    } else {
      lists.rows[0] = list;
    }
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

  /** Writes the row of `selected` of each of the warp's queries; null for none. */
  PHSA_DEVICE void write(int* target0, int* target1) {
    if constexpr (Maxima) {
      writeFew(target0, target1);
    } else {
      writeMany(lists.rows[0], target0);
      writeMany(lists.rows[1], target1);
    }
  }

  /** At most 16 blocks a row: found in registers, then sorted by four lanes. */
  PHSA_DEVICE void writeFew(int* target0, int* target1) {
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
      int count = 0;
#pragma unroll
      for (int chunk = 0; chunk < Capacity; chunk += 4) {
        if (chunk >= longest) break;
#pragma unroll
        for (int i = chunk; i < chunk + 4; i++) count += keys[half][i] != 0 && keys[half][i] >= pivot[half];
      }
      const int first = __shfl_sync(kWarpMask, count, lane & 28);
      const int second = __shfl_sync(kWarpMask, count, (lane & 28) + 1);
      const int third = __shfl_sync(kWarpMask, count, (lane & 28) + 2);
      const int chosen = quadSum(count);
      int place = (lane & 3 ? first : 0) + (lane & 2 ? second : 0) + ((lane & 3) == 3 ? third : 0);
      // Entry p of the row goes to slot p % 4 of lane p / 4.
      const uint32_t row = lists.rows[half].start - (lane & 3) * 4;
#pragma unroll
      for (int chunk = 0; chunk < Capacity; chunk += 4) {
        if (chunk >= longest) break;
#pragma unroll
        for (int i = chunk; i < chunk + 4; i++) {
          if (keys[half][i] == 0 || keys[half][i] < pivot[half]) continue;
          storeShared(row + place / 4 * 4 + place % 4 * kEntryStride, wordOf(keys[half][i], mask) & mask);
          place++;
        }
      }
      __syncwarp();
      int blocks[4];
#pragma unroll
      for (int i = 0; i < 4; i++) {
        const int word = static_cast<int>(loadShared(lists.rows[half].start + i * kEntryStride));
        blocks[i] = (lane & 3) * 4 + i < chosen ? word : 0x7FFFFFFF;
      }
      sortQuad(blocks);
      int* target = half ? target1 : target0;
      if (target) {
#pragma unroll
        for (int i = 0; i < 4; i++) {
          const int index = (lane & 3) * 4 + i;
          if (index < topK) target[index] = index < chosen ? blocks[i] : -1;
        }
      }
    }
  }

  PHSA_DEVICE void writeMany(RowList& list, int* target) {
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
    for (int index = total + (lane & 3); index < topK; index += 4) target[index] = -1;
  }
};
