// select_blocks_sm90.cu: the topK blocks of each query and KV head (spec 4) with Hopper's tensor cores: packed, bf16, D 128, one representative a block.
//
// select_tiles_sm90 rounds the representatives to f16 (11 bits) and lays them out as operands: 128 blocks of one sequence are 32 KB that one bulk copy brings in.
// A thread block owns 64 queries of one KV head for each of its warpgroups; its last warp streams the tiles past them. Softmax scores take two passes: the
// log-sum-exp of each head, then the scores again, summed over the group. Logit scores are one product with the sum of the group's queries.
// Four lanes share a row, each with a list of its own for every fourth pair of columns: a score at or above the row's threshold is appended, three
// instructions and no ballot. The threshold is the least of the 4 x 4 largest maxima of 8 columns that the lanes have met, so at least 16 blocks reach it;
// where lists fill all the same (rising or equal scores, more than 16 blocks to choose) they are thinned to exactly topK.
// A list entry is one word: the block index in the low bits, the score's bits above it. Entries of a row are therefore different, and of equal
// scores the lower index is the greater one. Bound: the products, one a score (logit) or two a head and score.
#include "sequences.cuh"
#include "wgmma.cuh"

struct SelectTilesParams {
  const float* reps;  // [Hkv, blocks, D]
  void* tiles;        // f16, see tileOffset
  Sequences sequences;
  Rules rules;
};

struct SelectTensorParams {
  const void* q;      // bf16 [Tq, Hq, D]
  const void* tiles;  // of select_tiles_sm90
  int* selected;      // [Hkv, Tq, topK]
  Sequences sequences;
  Rules rules;
};

constexpr int kDim = 128;
/** Queries of a warpgroup. */
constexpr int kRows = 64;
/** Blocks of a tile, and its bytes; those of an operand of 64 queries. */
constexpr int kTile = 128;
constexpr int kTileBytes = kTile * kDim * 2;
constexpr int kQueryBytes = kRows * kDim * 2;
/** Columns of a row that a lane looks at together, and how many of those are in a tile. */
constexpr int kUnit = 8;
constexpr int kUnits = 4;
/** Query heads of a group at most. */
constexpr int kMostHeads = 16;
/** Maxima that a lane keeps of each of its rows. */
constexpr int kKept = 4;
/** Thresholds above it are reached by 4 x kKept blocks. */
constexpr int kMostByMaxima = 4 * kKept;
constexpr unsigned kWarpMask = 0xFFFFFFFFu;
constexpr float kLowest = -3.0e38f;
/** Of columns that are no candidates: below every threshold. */
constexpr float kNone = -INFINITY;
/** Added to exponents of the second pass: probabilities down to 2^-226 stay apart. */
constexpr float kLift = 100.0f;
/** Bytes from one entry of a lane's list to the next: lane l of a warp has bank l. */
constexpr int kEntryStride = 128;

/** Tiles of a sequence and KV head lie together, those of the sequences as rowTile numbers them. */
PHSA_DEVICE int64_t tileOffset(const Sequences& sequences, int kvHead, int sequence, int tile) {
  const int64_t all = sequences.blocks / kTile + sequences.sequences + 1;
  return (kvHead * all + sequences.blockStarts[sequence] / kTile + sequence + tile) * kTileBytes;
}

PHSA_DEVICE uint32_t packHalf(float low, float high) {
  const float most = 65504.0f;
  low = low == low ? fminf(fmaxf(low, -most), most) : 0.0f;
  high = high == high ? fminf(fmaxf(high, -most), most) : 0.0f;
  uint32_t packed;
  asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(packed) : "f"(high), "f"(low));
  return packed;
}

/** A thread block makes one tile of one KV head; rows past the sequence's last block are 0. */
extern "C" __global__ void __launch_bounds__(256) select_tiles_sm90(const __grid_constant__ SelectTilesParams params) {
  const Sequences& sequences = params.sequences;
  const RowTile tile = rowTile(sequences.blockStarts, sequences.sequences, sequences.blocks, kTile, blockIdx.x);
  if (tile.first >= tile.end || tile.sequence == sequences.sequences) return;
  const int kvHead = blockIdx.y;
  const int within = (tile.first - sequences.blockStarts[tile.sequence]) / kTile;
  unsigned char* target = static_cast<unsigned char*>(params.tiles) + tileOffset(sequences, kvHead, tile.sequence, within);
  const float* reps = params.reps + (static_cast<int64_t>(kvHead) * sequences.blocks + tile.first) * kDim;
  for (int index = threadIdx.x; index < kTile * 16; index += 256) {
    const int row = index / 16;
    const int chunk = index % 16;
    float4 low = {0.0f, 0.0f, 0.0f, 0.0f};
    float4 high = low;
    if (tile.first + row < tile.end) {
      const float4* source = reinterpret_cast<const float4*>(reps + row * kDim + chunk * 8);
      low = source[0];
      high = source[1];
    }
    const uint4 packed = {packHalf(low.x, low.y), packHalf(low.z, low.w), packHalf(high.x, high.y), packHalf(high.z, high.w)};
    *reinterpret_cast<uint4*>(target + operandOffset(row, chunk, kTile)) = packed;
  }
}

PHSA_DEVICE void expectBytes(uint32_t barrier, int bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;\n" ::"r"(barrier), "r"(bytes) : "memory");
}

/** Copies contiguous bytes into shared memory and counts them on the barrier. */
PHSA_DEVICE void copyBulk(uint32_t target, const void* source, int bytes, uint32_t barrier) {
  asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];\n" ::"r"(target), "l"(source), "r"(bytes),
               "r"(barrier)
               : "memory");
}

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

/** Drops what lies below scores that at least topK blocks of the row reach. */
PHSA_DEVICE void dropBelow(RowLists& lists, float least0, float least1, uint32_t mask) {
#pragma unroll
  for (int half = 0; half < 2; half++) {
    const float least = __uint_as_float(__float_as_uint(half ? least1 : least0) & ~mask);
    filterList(lists.rows[half], [&](uint32_t word) { return __uint_as_float(word & ~mask) >= least; });
  }
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

/** d = a b: unlike wgmmaHalf with accumulate 0 it does not ask for what was in d before, so that d may have been changed while another product ran. */
PHSA_DEVICE void wgmmaFresh(float (&d)[64], uint64_t a, uint64_t b) {
  asm volatile(
      "{\n.reg .pred p;\nsetp.ne.b32 p, 0, 0;\n"
      "wgmma.mma_async.sync.aligned.m64n128k16.f32.f16.f16 {%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, %48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63}, %64, %65, p, 1, 1, 0, 0;\n}\n"
      : "=f"(d[0]), "=f"(d[1]), "=f"(d[2]), "=f"(d[3]), "=f"(d[4]), "=f"(d[5]), "=f"(d[6]), "=f"(d[7]), "=f"(d[8]), "=f"(d[9]), "=f"(d[10]), "=f"(d[11]), "=f"(d[12]), "=f"(d[13]), "=f"(d[14]), "=f"(d[15]), "=f"(d[16]), "=f"(d[17]), "=f"(d[18]), "=f"(d[19]), "=f"(d[20]), "=f"(d[21]), "=f"(d[22]), "=f"(d[23]), "=f"(d[24]), "=f"(d[25]), "=f"(d[26]), "=f"(d[27]), "=f"(d[28]), "=f"(d[29]), "=f"(d[30]), "=f"(d[31]), "=f"(d[32]), "=f"(d[33]), "=f"(d[34]), "=f"(d[35]), "=f"(d[36]), "=f"(d[37]), "=f"(d[38]), "=f"(d[39]), "=f"(d[40]), "=f"(d[41]), "=f"(d[42]), "=f"(d[43]), "=f"(d[44]), "=f"(d[45]), "=f"(d[46]), "=f"(d[47]), "=f"(d[48]), "=f"(d[49]), "=f"(d[50]), "=f"(d[51]), "=f"(d[52]), "=f"(d[53]), "=f"(d[54]), "=f"(d[55]), "=f"(d[56]), "=f"(d[57]), "=f"(d[58]), "=f"(d[59]), "=f"(d[60]), "=f"(d[61]), "=f"(d[62]), "=f"(d[63])
      : "l"(a), "l"(b));
}

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

/** How a variant divides shared memory. Heads: query operands of a warpgroup, 1 for the sum of the group, 2 for a stream of heads. */
template <int Heads, bool Stream, int Groups, int Capacity, int Stages>
struct SelectShared {
  static constexpr int kTiles = Groups * Heads * kQueryBytes;
  static constexpr int kLists = kTiles + Stages * kTileBytes;
  static constexpr int kLifts = kLists + Groups * 4 * 2 * Capacity * kEntryStride;
  static constexpr int kBarriers = kLifts + (Stream ? Groups * kMostHeads * kRows * 4 : 0);
  static constexpr int kBytes = kBarriers + 2 * Stages * 8;
  static_assert(kBytes <= 227 * 1024);
};

/** Log-sum-exp of a row so far, in powers of two. */
struct RowSum {
  float largest = kLowest;
  float sum = 0.0f;
};

template <int Heads, bool Softmax, bool Stream, int Groups, int Capacity, int Stages, bool Maxima>
PHSA_DEVICE void selectTensor(const SelectTensorParams& params) {
  using Shared = SelectShared<Heads, Stream, Groups, Capacity, Stages>;
  constexpr int kThreadRows = Groups * kRows;
  extern __shared__ __align__(1024) unsigned char shared[];
  const Sequences& sequences = params.sequences;
  const Rules& rules = params.rules;
  const int kvHead = blockIdx.x;
  const RowTile tile = rowTile(sequences.queryStarts, sequences.sequences, sequences.queryTokens, kThreadRows, gridDim.y - 1 - blockIdx.y);
  if (tile.first >= tile.end) return;
  int* selected = params.selected + (static_cast<int64_t>(kvHead) * sequences.queryTokens + tile.first) * rules.topK;
  const int thread = threadIdx.x;
  const int tileRows = tile.end - tile.first;
  const bool owned = tile.sequence < sequences.sequences;
  const int firstPos = owned ? firstPosition(sequences, tile.sequence) + tile.first - sequences.queryStarts[tile.sequence] : 0;
  const BlockRange widest = candidateBlocks(rules, firstPos + tileRows - 1, rules.denseBelow);
  if (!owned || widest.start >= widest.end) {
    for (int index = thread; index < tileRows * rules.topK; index += Groups * 128 + 128) selected[index] = -1;
    return;
  }

  const uint32_t base = sharedAddress(shared);
  const uint32_t full = base + Shared::kBarriers;
  const uint32_t empty = full + Stages * 8;
  if (thread == 0) {
    for (int stage = 0; stage < Stages; stage++) {
      initBarrier(full + stage * 8, 1);
      initBarrier(empty + stage * 8, Groups * 4);
    }
    fenceAsyncProxy();
  }
  const int group = rules.heads / rules.kvHeads;
  const int scoredTiles = Softmax ? ((firstPos + tileRows) / rules.blockSize + kTile - 1) / kTile : 0;
  const int firstTile = widest.start / kTile;
  const int endTile = (widest.end + kTile - 1) / kTile;
  const int scoredSteps = Stream ? scoredTiles * group : scoredTiles;
  const int steps = scoredSteps + endTile - firstTile;
  __syncthreads();

  if (thread >= Groups * 128) {
    shrinkRegisters<24>();
    if (thread == Groups * 128) {
      const unsigned char* tiles = static_cast<const unsigned char*>(params.tiles) + tileOffset(sequences, kvHead, tile.sequence, 0);
      for (int step = 0; step < steps; step++) {
        const int stage = step % Stages;
        if (step >= Stages) waitForPhase(empty + stage * 8, (step / Stages - 1) & 1);
        expectBytes(full + stage * 8, kTileBytes);
        const int index = step < scoredSteps ? step % max(scoredTiles, 1) : step - scoredSteps + firstTile;
        copyBulk(base + Shared::kTiles + stage * kTileBytes, tiles + static_cast<int64_t>(index) * kTileBytes, kTileBytes, full + stage * 8);
      }
    }
  } else {
  growRegisters<240>();
  const int warpgroup = thread / 128;
  const int lane = thread & 31;
  const uint32_t queries = base + warpgroup * Heads * kQueryBytes;
  QueryLoader loader{static_cast<const unsigned char*>(params.q), (static_cast<int64_t>(tile.first + warpgroup * kRows) * rules.heads + kvHead * group) * kDim * 2,
                     rules.heads * kDim * 2, tileRows - warpgroup * kRows};
  if (Softmax) {
#pragma unroll
    for (int head = 0; head < (Stream ? 1 : Heads); head++) {
      loader.fetch(head);
      loader.put(shared + (warpgroup * Heads + head) * kQueryBytes);
    }
  } else {
    loader.sum(group, shared + warpgroup * kQueryBytes);
  }
  fenceAsyncProxy();
  syncThreads(1 + warpgroup, 128);

  const int row0 = thread / 32 * 16 + lane / 4;
  const int row1 = row0 + 8;
  const int laneColumn = (lane & 3) * 2;
  int step = 0;
  auto tileReady = [&]() {
    const int stage = step % Stages;
    waitForPhase(full + stage * 8, step / Stages & 1);
    return base + Shared::kTiles + stage * kTileBytes;
  };
  auto tileDone = [&]() {
    if (lane == 0) arrive(empty + step % Stages * 8);
    step++;
  };

  const float factor = rules.scale * 1.4426950408889634f;
  float lift0[Heads];
  float lift1[Heads];
  float* lifts = reinterpret_cast<float*>(shared + Shared::kLifts) + thread / 128 * kMostHeads * kRows + thread % 128 / 32 * 16 + lane / 4;
  uint32_t turn = 0;
  unsigned char* const buffers = shared + warpgroup * Heads * kQueryBytes;
  if (Softmax) {
    const int complete0 = row0 < tileRows ? (firstPos + row0 + 1) / rules.blockSize : 0;
    const int complete1 = row1 < tileRows ? (firstPos + row1 + 1) / rules.blockSize : 0;
    const auto addTile = [&](float(&scores)[64], int index, RowSum& sum0, RowSum& sum1) {
      if (__any_sync(kWarpMask, (index + 1) * kTile > min(complete0, complete1))) maskScores(scores, index * kTile + laneColumn, 0, complete0, complete1);
#pragma unroll
      for (int half = 0; half < 2; half++) {
        RowSum& total = half ? sum1 : sum0;
        float largest = total.largest;
#pragma unroll
        for (int e = 0; e < 32; e++) largest = fmaxf(largest, scores[e / 2 * 4 + half * 2 + e % 2]);
        const float shift = largest * factor;
        float sums[2] = {total.sum * exp2Fast((total.largest - largest) * factor), 0.0f};
#pragma unroll
        for (int e = 0; e < 32; e++) sums[e % 2] += exp2Fast(scores[e / 2 * 4 + half * 2 + e % 2] * factor - shift);
        total.largest = largest;
        total.sum = sums[0] + sums[1];
      }
    };
    const auto liftOf = [&](const RowSum& own) {
      const float largest = -quadLeast(-own.largest);
      const float sum = quadSum(own.sum * exp2Fast((own.largest - largest) * factor));
      return kLift - largest * factor - log2f(sum);
    };
    if (Stream) {
      for (int head = 0; head < group; head++) {
        if (head > 0) syncThreads(1 + warpgroup, 128);
        // The first head again behind the last: the second pass begins with it.
        loader.fetch(head + 1 < group ? head + 1 : 0);
        RowSum sum0;
        RowSum sum1;
        for (int index = 0; index < scoredTiles; index++) {
          float scores[64];
          product(scores, queries + (turn & 1) * kQueryBytes, tileReady());
          wgmmaWait<0>();
          settle(scores);
          tileDone();
          addTile(scores, index, sum0, sum1);
        }
        turn++;
        loader.put(buffers + (turn & 1) * kQueryBytes);
        fenceAsyncProxy();
        const float own0 = liftOf(sum0);
        const float own1 = liftOf(sum1);
        if ((lane & 3) == 0) {
          lifts[head * kRows] = own0;
          lifts[head * kRows + 8] = own1;
        }
      }
      __syncwarp();
      loader.fetch(group > 1 ? 1 : 0);
    } else {
      RowSum sums0[Heads];
      RowSum sums1[Heads];
      // The next product runs while the scores of the last one are added; behind the last tile it is one that nobody reads. One head takes two tiles a turn.
      float scores[2][64];
      uint32_t operand = tileReady();
      product(scores[0], queries, operand);
      constexpr int kTurn = Heads == 1 ? 2 : Heads;
      for (int index = 0; index < scoredTiles;) {
#pragma unroll
        for (int turnStep = 0; turnStep < kTurn; turnStep++) {
          const int head = turnStep % Heads;
          const bool last = head == Heads - 1;
          const bool real = index < scoredTiles;
          wgmmaWait<0>();
          settle(scores[turnStep % 2]);
          if (last && real) {
            tileDone();
            if (index + 1 < scoredTiles) operand = tileReady();
          }
          product(scores[(turnStep + 1) % 2], queries + (head + 1) % Heads * kQueryBytes, operand);
          if (real) addTile(scores[turnStep % 2], index, sums0[head], sums1[head]);
          if (last) index++;
        }
      }
      wgmmaWait<0>();
#pragma unroll
      for (int head = 0; head < Heads; head++) {
        lift0[head] = liftOf(sums0[head]);
        lift1[head] = liftOf(sums1[head]);
      }
    }
  }

  const int end0 = row0 < tileRows ? candidateBlocks(rules, firstPos + row0, rules.denseBelow).end : 0;
  const int end1 = row1 < tileRows ? candidateBlocks(rules, firstPos + row1, rules.denseBelow).end : 0;
  Selection<Capacity, Maxima> selection(base + Shared::kLists + thread / 32 * 2 * Capacity * kEntryStride, endTile * kTile, rules.topK);
  const auto offer = [&](float(&scores)[64], int index) {
    const int column = index * kTile + laneColumn;
    if (__any_sync(kWarpMask, index * kTile < widest.start || (index + 1) * kTile > min(end0, end1))) {
      maskScores(scores, column, widest.start, end0, end1);
    }
    selection.offer(scores, column);
  };
  const auto powers = [&](float(&scores)[64], float own0, float own1) {
#pragma unroll
    for (int e = 0; e < 64; e++) scores[e] = exp2Fast(scores[e] * factor + (e & 2 ? own1 : own0));
  };
  const auto addPowers = [&](float(&sums)[64], const float(&scores)[64], float own0, float own1) {
#pragma unroll
    for (int e = 0; e < 64; e++) sums[e] += exp2Fast(scores[e] * factor + (e & 2 ? own1 : own0));
  };
  if constexpr (Heads == 1 && !Stream) {
    float scores[2][64];
    uint32_t operand = tileReady();
    product(scores[0], queries, operand);
    for (int index = firstTile; index < endTile;) {
#pragma unroll
      for (int turnStep = 0; turnStep < 2; turnStep++) {
        const bool real = index < endTile;
        wgmmaWait<0>();
        settle(scores[turnStep]);
        if (real) {
          tileDone();
          if (index + 1 < endTile) operand = tileReady();
        }
        product(scores[1 - turnStep], queries, operand);
        if (real) {
          if (Softmax) powers(scores[turnStep], lift0[0], lift1[0]);
          offer(scores[turnStep], index);
        }
        index++;
      }
    }
    wgmmaWait<0>();
  } else if constexpr (Heads == 2 && !Stream) {
    float first[64];
    float second[64];
    uint32_t operand = tileReady();
    product(first, queries, operand);
    for (int index = firstTile; index < endTile; index++) {
      wgmmaWait<0>();
      settle(first);
      product(second, queries + kQueryBytes, operand);
      powers(first, lift0[0], lift1[0]);
      wgmmaWait<0>();
      settle(second);
      tileDone();
      powers(second, lift0[1], lift1[1]);
#pragma unroll
      for (int e = 0; e < 64; e++) second[e] += first[e];
      if (index + 1 < endTile) operand = tileReady();
      product(first, queries, operand);
      offer(second, index);
    }
    wgmmaWait<0>();
  } else {
    for (int index = firstTile; index < endTile; index++) {
      const uint32_t operand = tileReady();
      float sums[64] = {};
      const int heads = Stream ? group : Heads;
#pragma unroll(Stream ? 1 : Heads)
      for (int head = 0; head < heads; head++) {
        float scores[64];
        if constexpr (Stream) {
          syncThreads(1 + warpgroup, 128);
          product(scores, queries + (turn & 1) * kQueryBytes, operand);
          turn++;
          loader.put(buffers + (turn & 1) * kQueryBytes);
          fenceAsyncProxy();
          loader.fetch((head + 2) % group);
        } else {
          product(scores, queries + head * kQueryBytes, operand);
        }
        wgmmaWait<0>();
        settle(scores);
        if constexpr (Stream) {
          addPowers(sums, scores, lifts[head * kRows], lifts[head * kRows + 8]);
        } else {
          addPowers(sums, scores, lift0[head], lift1[head]);
        }
      }
      tileDone();
      offer(sums, index);
    }
  }
  selection.write(row0 < tileRows ? selected + static_cast<int64_t>(row0) * rules.topK : nullptr,
                  row1 < tileRows ? selected + static_cast<int64_t>(row1) * rules.topK : nullptr);
  }
}

#define SELECT_KERNEL(NAME, HEADS, SOFTMAX, STREAM, GROUPS, CAPACITY, STAGES, MAXIMA)                                          \
  extern "C" __global__ void __launch_bounds__(GROUPS * 128 + 128, 1) NAME(const __grid_constant__ SelectTensorParams params) { \
    selectTensor<HEADS, SOFTMAX, STREAM, GROUPS, CAPACITY, STAGES, MAXIMA>(params);                                             \
  }

#ifndef SELECT_LAB
SELECT_KERNEL(select_logit_sm90, 1, false, false, 2, 48, 3, true)
SELECT_KERNEL(select_logit_many_sm90, 1, false, false, 2, 48, 3, false)
SELECT_KERNEL(select_softmax_sm90_g1, 1, true, false, 2, 48, 3, true)
SELECT_KERNEL(select_softmax_sm90_g2, 2, true, false, 2, 48, 2, true)
SELECT_KERNEL(select_softmax_sm90_g4, 4, true, false, 2, 16, 2, true)
SELECT_KERNEL(select_softmax_sm90, 2, true, true, 2, 40, 2, true)
SELECT_KERNEL(select_softmax_many_sm90, 2, true, true, 2, 40, 2, false)
#endif
