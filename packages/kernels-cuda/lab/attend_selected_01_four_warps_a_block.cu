// First key-major attention over selected blocks: four warps share a block and wait for each other at every part of a list. See ../kernels/attend_selected_sm90.cu.
//
// Query-major work reads a block's 16 KB of keys and values (m 32) once for each tile of queries that has a query that chose it. Here the lists of
// selected_lists_sm90.cu give each block its queries: the block is loaded once, the query heads' rows are gathered, and each (query head, choice)
// leaves its normalised result in bf16 and its log-sum-exp, next to those of the query's other choices. The merge reads them with the forced part
// that is already in `out` and `lse`, and writes the whole. Work goes by slabs of one section of rows and a few KV heads, which bound the scratch.
//
// Warps take tiles of 16 query heads, mma.sync. The order of D in the scores is one that lets a thread read 16 bytes of q at a time, and the partial
// results are stored in the order of the accumulators, 16 bytes a thread: word j of chunk 4 a + t holds columns 32 a + 8 j + 2 t and the next.
// Bound: traffic of G * 256 bytes three times a choice: q in, partial out, partial in.
#include "../kernels/hopper.cuh"
#include "../kernels/sequences.cuh"
#include "../kernels/warp.cuh"

struct AttendSelectedParams {
  const void* q;        // [Tq, Hq, D]
  const void* k;        // [Tk, Hkv, D]
  const void* v;
  const int* selected;  // [Hkv, Tq, topK]
  const int* wanted;    // 0 there: `out` and `lse` have everything already
  const int* starts;    // [Hkv, sections, blocks + 1]
  const int* entries;   // [Hkv, Tq * topK]
  void* partials;       // [slabHeads, sectionRows, topK, G, D], columns in the order of the accumulators
  float* partialLse;    // [slabHeads, sectionRows, topK, G], binary logarithms
  void* out;            // [Tq, Hq, D], the forced part beforehand
  float* lse;           // [Tq, Hq]
  Sequences sequences;
  Rules rules;
  int section;
  int sectionRows;
  int firstHead;  // KV head
  int slabHeads;
};

constexpr int kDim = 128;
constexpr int kRowBytes = 2 * kDim;
constexpr int kChunks = kRowBytes / 16;
constexpr float kLog2E = 1.4426950408889634f;
/** Choices of a block that a thread block takes at a time: their entries lie in shared memory. */
constexpr int kPartEntries = 512;

/** Division by a number up to 64 of numbers below 2^22. */
struct Divider {
  unsigned factor;

  PHSA_DEVICE explicit Divider(int by) : factor(((1u << 28) + by - 1) / by) {}
  PHSA_DEVICE int operator()(int value) const { return static_cast<int>(static_cast<uint64_t>(static_cast<unsigned>(value)) * factor >> 28); }
};

/** Choices of one block: `count` entries from `from` on, none at the end. */
struct ListPart {
  int block;
  int from;
  int count;
};

/** Parts of a range of a section's entries, in order. A lane knows where the list of one of the next 32 blocks ends. */
struct PartWalk {
  const int* starts;
  int blocks;
  int firstBlock;
  int next;
  int end;
  int ends;

  PHSA_DEVICE void load() { ends = starts[min(firstBlock + laneIndex(), blocks - 1) + 1]; }

  PHSA_DEVICE PartWalk(const int* given, int blockCount, int from, int to) : starts(given), blocks(blockCount), next(from), end(to) {
    firstBlock = lastStartAtMost(starts, blocks, from);
    load();
  }

  PHSA_DEVICE ListPart advance() {
    if (next >= end) return ListPart{0, 0, 0};
    unsigned behind = __ballot_sync(kWholeWarp, ends > next);
    while (behind == 0) {
      firstBlock += kLanes;
      load();
      behind = __ballot_sync(kWholeWarp, ends > next);
    }
    const int lane = __ffs(behind) - 1;
    ListPart part;
    part.block = firstBlock + lane;
    part.from = next;
    part.count = min(min(__shfl_sync(kWholeWarp, ends, lane), end) - next, kPartEntries);
    next += part.count;
    return part;
  }
};

/** Keys and values of a block, and its queries. */
template <int M>
struct alignas(128) SelectedBlock {
  unsigned char keys[M * kRowBytes];    // chunk 4 i + t of key 8 n + r in slot 128 n + 32 i + 4 r + t: the order in which lanes read operands
  unsigned char values[M * kRowBytes];  // rows of 256 bytes, chunks swizzled by row
  int entries[kPartEntries];
};

template <int M>
struct SelectedShared {
  SelectedBlock<M> blocks[2];
};

template <int M>
PHSA_DEVICE void attendSelected(const AttendSelectedParams& params) {
  if (*params.wanted == 0) return;
  PHSA_DYNAMIC_SHARED(bytes);
  SelectedShared<M>& shared = *reinterpret_cast<SelectedShared<M>*>(bytes);
  const Sequences& sequences = params.sequences;
  const Rules& rules = params.rules;
  const int lane = laneIndex();
  const int group = rules.heads / rules.kvHeads;
  const int topK = rules.topK;
  const int kvHead = params.firstHead + blockIdx.y;
  const int sections = (sequences.queryTokens + params.sectionRows - 1) / params.sectionRows;
  const int sectionRow = params.section * params.sectionRows;
  const int sectionEntry = sectionRow * topK;
  const int* starts = params.starts + (static_cast<int64_t>(kvHead) * sections + params.section) * (sequences.blocks + 1);
  const int* entries = params.entries + (static_cast<int64_t>(kvHead) * sequences.queryTokens + sectionRow) * topK;
  const Divider byTopK(topK);
  const Divider byGroup(group);
  const float factor = rules.scale * kLog2E;

  // The section's entries in equal shares, so that lists of any length are spread.
  const int total = starts[sequences.blocks];
  const int share = (total + gridDim.x - 1) / gridDim.x;
  const int from = min(total, static_cast<int>(blockIdx.x) * share);
  const int to = min(total, from + share);
  if (from >= to) return;
  PartWalk walk(starts, sequences.blocks, from, to);

  const unsigned char* q = static_cast<const unsigned char*>(params.q) + static_cast<int64_t>(sectionRow) * rules.heads * kRowBytes +
                           kvHead * group * kRowBytes + lane % 4 * 16;
  const int64_t slabRows = static_cast<int64_t>(blockIdx.y) * params.sectionRows * topK * group;
  unsigned char* partials = static_cast<unsigned char*>(params.partials) + slabRows * kRowBytes + lane % 4 * 16;
  float* partialLse = params.partialLse + slabRows;

  /** Queues the loads of a part; `at` is where its block lies among the two. */
  auto loadBlock = [&](const ListPart& part, int at) {
    if (part.count == 0) return;
    const int sequence = lastStartAtMost(sequences.blockStarts, sequences.sequences + 1, part.block);
    const int firstKey = (part.block - sequences.blockStarts[sequence]) * rules.blockSize;
    const int keys = keyCount(sequences, sequence) - firstKey;
    const int64_t row = static_cast<int64_t>(sequences.keyStarts[sequence]) + firstKey;
    const uint32_t keyTarget = sharedAddress(shared.blocks[at].keys);
    const uint32_t valueTarget = sharedAddress(shared.blocks[at].values);
#pragma unroll
    for (int copy = threadIdx.x; copy < M * kChunks; copy += kThreads) {
      const int key = copy / kChunks;
      const int chunk = copy % kChunks;
      const bool valid = key < keys;
      const int64_t source = ((row + (valid ? key : 0)) * rules.kvHeads + kvHead) * kDim + chunk * 8;
      copyAsync16(keyTarget + (key / 8 * 128 + chunk / 4 * 32 + key % 8 * 4 + chunk % 4) * 16, static_cast<const uint16_t*>(params.k) + source, valid);
      copyAsync16(valueTarget + key * kRowBytes + (chunk ^ (key % 8)) * 16, static_cast<const uint16_t*>(params.v) + source, valid);
    }
    const uint32_t entryTarget = sharedAddress(shared.blocks[at].entries);
    for (int entry = threadIdx.x; entry < part.count; entry += kThreads) copyAsync4(entryTarget + entry * 4, entries + part.from + entry);
  };

  /** A thread's two query heads of a tile: place of the partial result in the slab, relative to (row, head) of q. */
  struct TileRow {
    int row;      // within the section
    int partial;  // within the slab's KV head, -1 past the part
    int head;
  };
  auto tileRow = [&](int item, int entry) {
    TileRow row;
    row.head = item - byGroup(item) * group;
    row.row = byTopK(entry - sectionEntry);
    row.partial = (entry - sectionEntry) * group + row.head;
    return row;
  };

  uint4 queries[2][4];
  auto loadQueries = [&](const TileRow (&rows)[2]) {
#pragma unroll
    for (int half = 0; half < 2; half++) {
      const unsigned char* source = q + (static_cast<int64_t>(rows[half].row) * rules.heads + rows[half].head) * kRowBytes;
#pragma unroll
      for (int i = 0; i < 4; i++) queries[half][i] = *reinterpret_cast<const uint4*>(source + i * 64);
    }
  };
  /** Entry of item `item` of a part; past its end the last one's, whose result is not stored. */
  auto entryIndex = [&](const ListPart& part, int item) { return min(byGroup(item), part.count - 1); };

  ListPart part = walk.advance();
  loadBlock(part, 0);
  commitCopies();
  const int firstItem = warpIndex() * 16 + lane / 4;
  TileRow rows[2];
  bool ready = warpIndex() * 16 < part.count * group;
  if (ready) {
#pragma unroll
    for (int half = 0; half < 2; half++) rows[half] = tileRow(firstItem + half * 8, entries[part.from + entryIndex(part, firstItem + half * 8)]);
    loadQueries(rows);
  }

  for (int at = 0; part.count > 0; at ^= 1) {
    waitForCopies<0>();
    __syncthreads();
    const ListPart following = walk.advance();
    loadBlock(following, at ^ 1);
    commitCopies();
    const bool followingReady = warpIndex() * 16 < following.count * group;
    int followingEntries[2] = {0, 0};
    if (followingReady) {
#pragma unroll
      for (int half = 0; half < 2; half++) followingEntries[half] = entries[following.from + entryIndex(following, firstItem + half * 8)];
    }
    const SelectedBlock<M>& block = shared.blocks[at];
    const int items = part.count * group;
    const uint4* keys = reinterpret_cast<const uint4*>(block.keys) + lane;
    const uint32_t values = sharedAddress(block.values);
    const int sequence = lastStartAtMost(sequences.blockStarts, sequences.sequences + 1, part.block);
    // Keys at or before a query of row r of the section: r + seen.
    const int seen = firstPosition(sequences, sequence) + sectionRow - sequences.queryStarts[sequence] -
                     (part.block - sequences.blockStarts[sequence]) * rules.blockSize + 1;

    for (int tile = warpIndex() * 16; tile < items; tile += kWarps * 16) {
      float scores[M / 8][4] = {};
#pragma unroll
      for (int i = 0; i < 4; i++) {
        const uint4 low = queries[0][i];
        const uint4 high = queries[1][i];
        const uint32_t first[4] = {low.x, high.x, low.y, high.y};
        const uint32_t second[4] = {low.z, high.z, low.w, high.w};
#pragma unroll
        for (int n = 0; n < M / 8; n++) {
          const uint4 key = keys[n * 128 + i * 32];
          mma(scores[n], first, key.x, key.y);
          mma(scores[n], second, key.z, key.w);
        }
      }
      const TileRow current[2] = {rows[0], rows[1]};
      const bool stored[2] = {tile + lane / 4 < items, tile + lane / 4 + 8 < items};
      const int next = tile + kWarps * 16;
      const bool more = next < items;
      if (more || followingReady) {
#pragma unroll
        for (int half = 0; half < 2; half++) {
          const int item = (more ? next : warpIndex() * 16) + lane / 4 + half * 8;
          rows[half] = tileRow(item, more ? block.entries[entryIndex(part, item)] : followingEntries[half]);
        }
        loadQueries(rows);
      }

      // A given choice may lie behind its query.
      const int visible[2] = {current[0].row + seen, current[1].row + seen};
      if (__any_sync(kWholeWarp, min(visible[0], visible[1]) < M)) {
#pragma unroll
        for (int n = 0; n < M / 8; n++) {
#pragma unroll
          for (int e = 0; e < 4; e++) {
            if (n * 8 + lane % 4 * 2 + e % 2 >= visible[e / 2]) scores[n][e] = -INFINITY;
          }
        }
      }
      float scale[2];
      uint32_t probabilities[M / 16][4];
#pragma unroll
      for (int half = 0; half < 2; half++) {
        float largest = -INFINITY;
#pragma unroll
        for (int n = 0; n < M / 8; n++) largest = fmaxf(largest, fmaxf(scores[n][2 * half], scores[n][2 * half + 1]));
        largest = fmaxf(largest, __shfl_xor_sync(kWholeWarp, largest, 1));
        largest = fmaxf(largest, __shfl_xor_sync(kWholeWarp, largest, 2)) * factor;
        const float shift = largest == -INFINITY ? 0.0f : largest;
        float sum = 0.0f;
#pragma unroll
        for (int n = 0; n < M / 8; n++) {
          const float a = exp2Fast(fmaf(scores[n][2 * half], factor, -shift));
          const float b = exp2Fast(fmaf(scores[n][2 * half + 1], factor, -shift));
          sum += a + b;
          probabilities[n / 2][n % 2 * 2 + half] = packBf16(a, b);
        }
        sum += __shfl_xor_sync(kWholeWarp, sum, 1);
        sum += __shfl_xor_sync(kWholeWarp, sum, 2);
        scale[half] = sum > 0.0f ? 1.0f / sum : 0.0f;
        if (stored[half] && lane % 4 == 0) partialLse[current[half].partial] = shift + log2f(sum);
      }
#pragma unroll
      for (int a = 0; a < 4; a++) {
        float sums[4][4] = {};
#pragma unroll
        for (int step = 0; step < M / 16; step++) {
#pragma unroll
          for (int pair = 0; pair < 2; pair++) {
            uint32_t value[4];
            const int key = step * 16 + lane % 16;
            loadMatrixTransposed(value, values + key * kRowBytes + ((4 * a + 2 * pair + lane / 16) ^ (key % 8)) * 16);
            mma(sums[2 * pair], probabilities[step], value[0], value[1]);
            mma(sums[2 * pair + 1], probabilities[step], value[2], value[3]);
          }
        }
#pragma unroll
        for (int half = 0; half < 2; half++) {
          uint4 packed;
          packed.x = packBf16(sums[0][2 * half] * scale[half], sums[0][2 * half + 1] * scale[half]);
          packed.y = packBf16(sums[1][2 * half] * scale[half], sums[1][2 * half + 1] * scale[half]);
          packed.z = packBf16(sums[2][2 * half] * scale[half], sums[2][2 * half + 1] * scale[half]);
          packed.w = packBf16(sums[3][2 * half] * scale[half], sums[3][2 * half + 1] * scale[half]);
          if (stored[half]) *reinterpret_cast<uint4*>(partials + static_cast<int64_t>(current[half].partial) * kRowBytes + a * 64) = packed;
        }
      }
    }
    // A warp without a tile in this part has not fetched the next one's yet.
    if (!ready && followingReady) {
#pragma unroll
      for (int half = 0; half < 2; half++) rows[half] = tileRow(firstItem + half * 8, followingEntries[half]);
      loadQueries(rows);
    }
    ready = followingReady;
    part = following;
  }
}

constexpr int kMergeThreads = 256;
constexpr int kSlotLanes = kChunks;  // a half-warp has a query head: lanes are its chunks, and slots when it weighs them
constexpr int kMostSlots = 64 / kSlotLanes;

PHSA_DEVICE void mergeSelected(const AttendSelectedParams& params) {
  if (*params.wanted == 0) return;
  const Sequences& sequences = params.sequences;
  const Rules& rules = params.rules;
  const int group = rules.heads / rules.kvHeads;
  const int topK = rules.topK;
  const int sectionRow = params.section * params.sectionRows;
  const int rowsHere = min(params.sectionRows, sequences.queryTokens - sectionRow);
  const int chunk = threadIdx.x % kSlotLanes;
  const unsigned halfWarp = 0xffffu << (laneIndex() / kSlotLanes * kSlotLanes);
  const int units = rowsHere * group;
  const int slabHead = blockIdx.y;
  const int kvHead = params.firstHead + slabHead;
  for (int unit = blockIdx.x * (kMergeThreads / kSlotLanes) + threadIdx.x / kSlotLanes; unit < units; unit += gridDim.x * (kMergeThreads / kSlotLanes)) {
    const int row = sectionRow + unit / group;
    const Query query = findQuery(sequences, rules, row);
    if (query.sequence < 0 || query.position < query.denseBelow) continue;
    const int head = kvHead * group + unit % group;
    const int* selected = params.selected + (static_cast<int64_t>(kvHead) * sequences.queryTokens + row) * topK;
    const int64_t place = (static_cast<int64_t>(slabHead) * params.sectionRows + row - sectionRow) * topK * group + unit % group;
    const float* partialLse = params.partialLse + place;
    const uint4* partials = static_cast<const uint4*>(params.partials) + place * kChunks + chunk;
    const int64_t target = static_cast<int64_t>(row) * rules.heads + head;
    uint32_t* out = static_cast<uint32_t*>(params.out) + target * (kDim / 2) + chunk / 4 * 16 + chunk % 4;

    float weights[kMostSlots];
    int count = 0;
    const float forced = params.lse[target] * kLog2E;
    float largest = forced;
#pragma unroll
    for (int i = 0; i < kMostSlots; i++) {
      weights[i] = -INFINITY;
      const int slot = i * kSlotLanes + chunk;
      const bool chosen = slot < topK && selected[slot] >= 0;
      if (chosen) weights[i] = partialLse[static_cast<int64_t>(slot) * group];
      largest = fmaxf(largest, weights[i]);
      count += __popc(__ballot_sync(halfWarp, chosen) & halfWarp);
    }
    if (count == 0) continue;
#pragma unroll
    for (int offset = kSlotLanes / 2; offset > 0; offset /= 2) largest = fmaxf(largest, __shfl_xor_sync(halfWarp, largest, offset));
    if (largest == -INFINITY) continue;
    float total = 0.0f;
#pragma unroll
    for (int i = 0; i < kMostSlots; i++) {
      weights[i] = exp2Fast(weights[i] - largest);
      total += weights[i];
    }
#pragma unroll
    for (int offset = kSlotLanes / 2; offset > 0; offset /= 2) total += __shfl_xor_sync(halfWarp, total, offset);
    const float forcedWeight = exp2Fast(forced - largest);
    total += forcedWeight;

    float sums[4][2];
#pragma unroll
    for (int j = 0; j < 4; j++) {
      const uint32_t word = out[j * 4];
      sums[j][0] = __uint_as_float(word << 16) * forcedWeight;
      sums[j][1] = __uint_as_float(word & 0xffff0000u) * forcedWeight;
    }
#pragma unroll
    for (int i = 0; i < kMostSlots; i++) {
      if (i * kSlotLanes >= count) break;
#pragma unroll
      for (int first = 0; first < kSlotLanes; first += 8) {
        uint4 words[8];
#pragma unroll
        for (int j = 0; j < 8; j++) {
          const int slot = i * kSlotLanes + first + j;
          words[j] = make_uint4(0, 0, 0, 0);
          if (slot < count) words[j] = __ldcs(partials + static_cast<int64_t>(slot) * group * kChunks);
        }
#pragma unroll
        for (int j = 0; j < 8; j++) {
          const float weight = __shfl_sync(halfWarp, weights[i], first + j, kSlotLanes);
          const uint32_t parts[4] = {words[j].x, words[j].y, words[j].z, words[j].w};
#pragma unroll
          for (int w = 0; w < 4; w++) {
            sums[w][0] = fmaf(weight, __uint_as_float(parts[w] << 16), sums[w][0]);
            sums[w][1] = fmaf(weight, __uint_as_float(parts[w] & 0xffff0000u), sums[w][1]);
          }
        }
      }
    }
    const float share = 1.0f / total;
#pragma unroll
    for (int j = 0; j < 4; j++) out[j * 4] = packBf16(sums[j][0] * share, sums[j][1] * share);
    if (chunk == 0) params.lse[target] = (largest + log2f(total)) / kLog2E;
  }
}

PHSA_KERNEL(attend_selected_bf16_d128_m16, AttendSelectedParams, kThreads, attendSelected<16>)
PHSA_KERNEL(attend_selected_bf16_d128_m32, AttendSelectedParams, kThreads, attendSelected<32>)
PHSA_KERNEL(attend_selected_bf16_d128_m64, AttendSelectedParams, kThreads, attendSelected<64>)
PHSA_KERNEL(merge_selected_bf16_d128, AttendSelectedParams, kMergeThreads, mergeSelected)
