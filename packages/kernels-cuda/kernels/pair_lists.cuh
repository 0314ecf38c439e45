// pair_lists.cuh: lists of the best blocks of a warp's 8 queries with two heads, as scores come from wgmma: lane l has the query l / 4, its first head in
// the upper rows of the accumulator and its second one in the lower. Only *_sm90.cu include it.
//
// An entry keeps both heads' exponentials, because how much the second one counts beside the first is known only when all blocks have been seen: 27 bits
// of the first and the column within a unit, 21 bits of the second and the unit. The lane's bits of the column are 0 in its own list; an entry that moves
// to another lane's list has the difference there.
#pragma once
#include "row_lists.cuh"

/** Bytes from one entry of a lane's list to the next. */
constexpr int kPairStride = 256;
/** Columns of a unit: those that the four lanes of a query look at together. */
constexpr int kUnitColumns = 32;
constexpr uint32_t kColumnBits = kUnitColumns - 1;
constexpr uint32_t kUnitBits = 2047;

/** A lane's list: where it starts and ends in shared memory, and what a score must reach to get into it. */
struct PairList {
  uint32_t start;
  uint32_t end;
  float threshold;
};

struct PairEntry {
  uint32_t first;
  uint32_t second;

  /** @param weight of the second head */
  PHSA_DEVICE float score(float weight) const { return fmaf(__uint_as_float(second & ~kUnitBits), weight, __uint_as_float(first & ~kColumnBits)); }
};

/** Ranks of entries in 32 bits: in `mask` the block, above it how far the bits of the score are above `base`, moved up by `shift`. */
struct PairRanks {
  uint32_t mask;
  uint32_t base;
  int shift;
  uint32_t end;  // above all keys of those it was made for

  /** Of equal ones the lower block is greater. The entry is in this lane's list. */
  PHSA_DEVICE uint32_t key(const PairEntry& entry, float weight) const {
    const uint32_t block = (entry.second & kUnitBits) * kUnitColumns + ((entry.first & kColumnBits) ^ ((threadIdx.x & 3) << 1));
    return keyOf(((__float_as_uint(entry.score(weight)) - base) << shift & ~mask) | block, mask);
  }

  PHSA_DEVICE int block(uint32_t key) const { return static_cast<int>(wordOf(key, mask) & mask); }

  /** No more than the score of any entry with this key. */
  PHSA_DEVICE float score(uint32_t key) const { return __uint_as_float(base + ((wordOf(key, mask) & ~mask) >> shift)); }

  /** More than the score of any entry whose key ties with this one but for the block. */
  PHSA_DEVICE float scoreAbove(uint32_t key) const { return __uint_as_float(base + (((wordOf(key, mask) | mask) >> shift) + 1)); }
};

PHSA_DEVICE PairEntry loadPair(uint32_t address) {
  PairEntry entry;
  asm volatile("ld.shared.v2.b32 {%0, %1}, [%2];\n" : "=r"(entry.first), "=r"(entry.second) : "r"(address) : "memory");
  return entry;
}

PHSA_DEVICE void storePair(uint32_t address, const PairEntry& entry) {
  asm volatile("st.shared.v2.b32 [%0], {%1, %2};\n" ::"r"(address), "r"(entry.first), "r"(entry.second) : "memory");
}

/** Appends the entry at `end` and moves it on where the score reaches the threshold. */
PHSA_DEVICE void appendWhere(uint32_t& end, float score, float threshold, const PairEntry& entry) {
  asm volatile("{\n.reg .pred p;\nsetp.ge.f32 p, %1, %2;\n@p st.shared.v2.b32 [%0], {%3, %4};\n@p add.u32 %0, %0, 256;\n}\n"
               : "+r"(end)
               : "f"(score), "f"(threshold), "r"(entry.first), "r"(entry.second)
               : "memory");
}

#define PHSA_TEST(I, SCORE) "setp.ge.f32 p" #I ", %" #SCORE ", %9;\nselp.u32 s" #I ", 256, 0, p" #I ";\n"
#define PHSA_MOVE(I, NEXT) "add.u32 a" #NEXT ", a" #I ", s" #I ";\n"
#define PHSA_STORE(I, FIRST, SECOND) "@p" #I " st.shared.v2.b32 [a" #I "], {%" #FIRST ", %" #SECOND "};\n"
/** The same for eight entries, each with its address in a register of its own: one that a store may still read cannot be written. */
PHSA_DEVICE void appendUnit(PairList& list, const float (&scores)[8], const PairEntry (&own)[8]) {
  asm volatile(
      "{\n.reg .pred p0, p1, p2, p3, p4, p5, p6, p7;\n.reg .u32 s0, s1, s2, s3, s4, s5, s6, s7, a0, a1, a2, a3, a4, a5, a6, a7, a8;\n"
      PHSA_TEST(0, 1) PHSA_TEST(1, 2) PHSA_TEST(2, 3) PHSA_TEST(3, 4) PHSA_TEST(4, 5) PHSA_TEST(5, 6) PHSA_TEST(6, 7) PHSA_TEST(7, 8)
      "mov.u32 a0, %0;\n"
      PHSA_MOVE(0, 1) PHSA_MOVE(1, 2) PHSA_MOVE(2, 3) PHSA_MOVE(3, 4) PHSA_MOVE(4, 5) PHSA_MOVE(5, 6) PHSA_MOVE(6, 7) PHSA_MOVE(7, 8)
      PHSA_STORE(0, 10, 11) PHSA_STORE(1, 12, 13) PHSA_STORE(2, 14, 15) PHSA_STORE(3, 16, 17)
      PHSA_STORE(4, 18, 19) PHSA_STORE(5, 20, 21) PHSA_STORE(6, 22, 23) PHSA_STORE(7, 24, 25)
      "mov.u32 %0, a8;\n}\n"
      : "+r"(list.end)
      : "f"(scores[0]), "f"(scores[1]), "f"(scores[2]), "f"(scores[3]), "f"(scores[4]), "f"(scores[5]), "f"(scores[6]), "f"(scores[7]), "f"(list.threshold),
        "r"(own[0].first), "r"(own[0].second), "r"(own[1].first), "r"(own[1].second), "r"(own[2].first), "r"(own[2].second), "r"(own[3].first),
        "r"(own[3].second), "r"(own[4].first), "r"(own[4].second), "r"(own[5].first), "r"(own[5].second), "r"(own[6].first), "r"(own[6].second),
        "r"(own[7].first), "r"(own[7].second)
      : "memory");
}
#undef PHSA_TEST
#undef PHSA_MOVE
#undef PHSA_STORE

PHSA_DEVICE int entries(const PairList& list) { return static_cast<int>(list.end - list.start) / kPairStride; }

/** Scores of entries are smaller than what they were by at most so much of themselves. */
constexpr float kEntryRounding = 1.0f / 1024.0f;
/** A threshold below this is one above scores of 0. */
constexpr float kTiny = 1e-37f;

/** What an entry must reach to stay in a list of this threshold. */
PHSA_DEVICE float leastKept(float threshold) { return threshold < kTiny ? 0.0f : threshold * (1.0f - kEntryRounding); }

/** Runs `use(entry, whether it is there)` for the entries of each lane's list; four at a time, because each waits for its load. */
template <typename Use>
PHSA_DEVICE void forEach(const PairList& list, Use use) {
  const int longest = __reduce_max_sync(kWarpMask, entries(list));
#pragma unroll 1
  for (int chunk = 0; chunk < longest; chunk += 4) {
    PairEntry own[4];
#pragma unroll
    for (int i = 0; i < 4; i++) own[i] = loadPair(list.start + (chunk + i) * kPairStride);
#pragma unroll
    for (int i = 0; i < 4; i++) use(own[i], list.start + (chunk + i) * kPairStride < list.end);
  }
}

/** Drops what lies below the thresholds. */
PHSA_DEVICE void dropBelow(PairList& list, float weight) {
  const float least = leastKept(list.threshold);
  uint32_t end = list.start;
  forEach(list, [&](const PairEntry& entry, bool there) { appendWhere(end, there ? entry.score(weight) : kNone, least, entry); });
  list.end = end;
}

/** Ranks that spread the bits beside the block over the scores of a query's entries. */
PHSA_DEVICE PairRanks ranksOf(const PairList& list, float weight, uint32_t mask) {
  uint32_t low = 0xFFFFFFFFu;
  uint32_t high = 0;
  forEach(list, [&](const PairEntry& entry, bool there) {
    const uint32_t score = __float_as_uint(entry.score(weight));
    low = min(low, there ? score : 0xFFFFFFFFu);
    high = max(high, there ? score : 0);
  });
  low = quadLeast(low);
  high = max(quadLargest(high), low);
  const int shift = __clz(high - low) - 1;
  return PairRanks{mask, low, shift, keyOf((high - low) << shift | mask, mask) + mask + 1};
}

/**
 * Leaves more than three quarters of `most` and at most `most` of a query's entries where there are more, and raises its threshold to what the last of
 * them reaches; above what only ties with it if no block before `front` can follow that would win the tie.
 */
PHSA_DEVICE void thin(PairList& list, float weight, uint32_t mask, int most, int front) {
  const int total = quadSum(entries(list));
  const PairRanks ranks = ranksOf(list, weight, mask);
  // At or above `low` are more than `most`, at or above `high` too few; keys differ, so that some pivot has enough.
  uint32_t low = 0x80000000u;
  uint32_t high = ranks.end;
  bool open = total > most;
  uint32_t pivot = 0;
#pragma unroll 1
  while (__any_sync(kWarpMask, open)) {
    const uint32_t middle = low + (high - low) / 2;
    int count = 0;
    forEach(list, [&](const PairEntry& entry, bool there) { count += there && ranks.key(entry, weight) >= middle; });
    count = quadSum(count);
    if (!open) continue;
    if (count > most) {
      low = middle;
    } else {
      high = middle;
    }
    if ((count <= most && count > most - most / 4) || high - low <= 1) {
      pivot = high;
      open = false;
    }
  }
  uint32_t least = 0xFFFFFFFFu;
  uint32_t end = list.start;
  forEach(list, [&](const PairEntry& entry, bool there) {
    const uint32_t key = ranks.key(entry, weight);
    if (!there || key < pivot) return;
    least = min(least, key);
    storePair(end, entry);
    end += kPairStride;
  });
  list.end = end;
  __syncwarp();
  least = quadLeast(least);
  if (total <= most) return;
  // Entries score less than their blocks: one that ties with the last of them may reach more.
  const float above = ranks.scoreAbove(least) * (1.0f + kEntryRounding / 2.0f);
  const float reached = ranks.score(least);
  const bool last = ranks.block(least) < front && leastKept(above) <= reached;
  list.threshold = fmaxf(list.threshold, last ? above : reached);
}

/** Moves entries from the lanes of a query that have more than `most` to those that have fewer. */
PHSA_DEVICE void balance(PairList& list, int most) {
  const int count = entries(list);
  const int own = threadIdx.x & 3;
  const int lane = threadIdx.x & 31;
  const int excess = max(0, count - most);
  int counts[4];
  int before = 0;
  int given = 0;
  int taken = 0;
#pragma unroll
  for (int i = 0; i < 4; i++) {
    counts[i] = __shfl_sync(kWarpMask, count, (lane & 28) + i);
    given += max(0, counts[i] - most);
    if (i < own) {
      before += max(0, counts[i] - most);
      taken += max(0, most - counts[i]);
    }
  }
#pragma unroll 1
  for (int i = 0; i < excess; i++) {
    PairEntry entry = loadPair(list.start + (most + i) * kPairStride);
    int rest = before + i;
#pragma unroll
    for (int other = 0; other < 4; other++) {
      const int room = max(0, most - counts[other]);
      if (rest >= 0 && rest < room) {
        storePair(list.start + (other - own) * 8 + (counts[other] + rest) * kPairStride, PairEntry{entry.first ^ (other ^ own) << 1, entry.second});
      }
      rest -= room;
    }
  }
  list.end = list.start + (min(count, most) + min(max(0, most - count), max(0, given - taken))) * kPairStride;
  __syncwarp();
}
