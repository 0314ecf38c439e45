// row_lists.cuh: lists of the best blocks of a warp's 16 rows in shared memory, as scores come from wgmma: lane l has rows l / 4 and l / 4 + 8. Only
// *_sm90.cu include it.
//
// Four lanes share a row, each with a list of its own for every fourth pair of columns: a score at or above the row's threshold is appended, three
// instructions and no ballot. Where lists fill they are thinned to exactly topK.
// A list entry is one word: the block index in the low bits, the score's bits above it. Entries of a row are therefore different, and of equal
// scores the lower index is the greater one.
#pragma once
#include "platform.cuh"

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
