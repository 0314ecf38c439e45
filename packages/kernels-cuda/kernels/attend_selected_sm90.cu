// attend_selected_sm90.cu: attention over selected blocks, key-major (spec 5), for choices that few neighbours share: bf16, D 128.
//
// Query-major work reads a block's keys and values, 8 KB at m 16, for each tile of queries with one that chose it. Here the lists of
// selected_lists_sm90.cu give each block its queries: the block is loaded once, the query heads' rows are gathered, and each (query head, choice)
// leaves its normalised result in bf16 and its log-sum-exp, next to those of the query's other choices. attend_sm90.cu adds them to what its tiles
// have (attend_merge.cuh); where a KV head's results do not fit at once, the merge here adds them to `out` and `lse` afterwards. Work goes by slabs
// of one section of rows and a few KV heads, which bound the scratch.
//
// Warps take tiles of 16 query heads, mma.sync; so few warps share a block that they hardly wait for each other: one at m 16, two at 32, four at 64.
// The order of D in the scores is one that lets a thread read 16 bytes of q at a time, and the partial results are stored in the order of the
// accumulators, 16 bytes a thread: word j of chunk 4 a + t holds columns 32 a + 8 j + 2 t and the next.
// Bound: traffic of G * 256 bytes three times a choice, q in, partial out, partial in; the first two at half the rate of memory, by the latency of
// a tile's chain of products at 16 warps a multiprocessor.
#include "hopper.cuh"
#include "list_parts.cuh"
#include "sequences.cuh"
#include "warp.cuh"

struct AttendSelectedParams {
  const void* q;        // [Tq, Hq, D]
  const void* k;        // [Tk, Hkv, D], or the pages of a cache
  const void* v;
  const int* selected;  // [Hkv, Tq, topK]: what attend_lists_sm90 left
  const int* wanted;    // 0 there: nothing is left
  const int* starts;    // [Hkv, sections, blocks + 1]
  const int* entries;   // [Hkv, Tq * topK]
  void* partials;       // [slabHeads, sectionRows, topK, G, D], columns in the order of the accumulators
  float* partialLse;    // [slabHeads, sectionRows, topK, G], binary logarithms
  void* out;            // [Tq, Hq, D], the rest beforehand
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
constexpr int kTileRows = 16;
/** Shares of a section's entries that a thread block takes, fewer where a warp would have fewer tiles of each: a share may cost a block more. */
constexpr int kShares = 8;
constexpr int kShareTiles = 2;
constexpr float kLog2E = 1.4426950408889634f;

/** Division by a number up to 64 of numbers below 2^22. */
struct Divider {
  unsigned factor;

  PHSA_DEVICE explicit Divider(int by) : factor(((1u << 28) + by - 1) / by) {}
  PHSA_DEVICE int operator()(int value) const { return static_cast<int>(static_cast<uint64_t>(static_cast<unsigned>(value)) * factor >> 28); }
};

/** Keys and values of a block. */
template <int M>
struct alignas(256) SelectedBlock {
  unsigned char values[M * kRowBytes];  // rows of 256 bytes, chunks swizzled by row
  unsigned char keys[M * kRowBytes];    // chunk 4 i + t of key 8 n + r in slot 128 n + 32 i + 4 r + t: the order in which lanes read operands
};

/** A thread's query head in a tile. */
struct TileRow {
  int row;      // within the section
  int partial;  // within the slab's KV head
};

/** Keeps the compiler from working the address out anew at each use. */
template <typename T>
PHSA_DEVICE void keep(T*& pointer) {
  asm volatile("" : "+l"(pointer));
}

/** A thread block of W warps shares the block that it works on. */
template <int M, int W>
PHSA_DEVICE void attendSelected(const AttendSelectedParams& params) {
  if (*params.wanted == 0) return;
  __shared__ SelectedBlock<M> shared;
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
  const float factor = rules.scale * kLog2E;

  // The section's entries in equal shares, so that lists of any length are spread; a thread block has some from everywhere, as short lists cost more.
  const int total = starts[sequences.blocks];
  const int tileEntries = kTileRows / group;
  const int shares = min(max(total / static_cast<int>(gridDim.x * W * kShareTiles * tileEntries), 1), kShares) * gridDim.x;
  const int share = (total + shares - 1) / shares;

  // A tile has as many entries as fit with all heads of the group; a thread has the same head of the same entry in every tile.
  int place[2];
  int head[2];
  bool used[2];
#pragma unroll
  for (int half = 0; half < 2; half++) {
    const int row = lane / 4 + half * 8;
    place[half] = min(row / group, tileEntries - 1);
    head[half] = row % group;
    used[half] = row < tileEntries * group;
  }
  const uint4* q = static_cast<const uint4*>(params.q) + (static_cast<int64_t>(sectionRow) * rules.heads + kvHead * group) * kChunks + lane % 4;
  const int64_t slabRows = static_cast<int64_t>(blockIdx.y) * params.sectionRows * topK * group;
  uint4* partials = static_cast<uint4*>(params.partials) + slabRows * kChunks + lane % 4;
  float* partialLse = params.partialLse + slabRows;
  keep(entries);
  keep(q);
  keep(partials);
  keep(partialLse);
  const uint4* keys = reinterpret_cast<const uint4*>(shared.keys) + lane;
  const uint32_t values = sharedAddress(shared.values) + lane % 16 * kRowBytes + (lane / 16 ^ lane % 8) * 16;

  // Copies of a block: the same chunk of every kCopyKeys-th key.
  constexpr int kCopyKeys = W * kLanes / kChunks;
  const int copyKey = threadIdx.x / kChunks;
  const int copyChunk = threadIdx.x % kChunks;
  const uint32_t keyTarget = sharedAddress(shared.keys) + (copyChunk / 4 * 32 + copyKey * 4 + copyChunk % 4) * 16;
  const uint32_t valueTarget = sharedAddress(shared.values) + copyKey * kRowBytes + (copyChunk ^ copyKey) * 16;

  auto loadEntries = [&](const ListPart& part, int tile, int (&found)[2]) {
#pragma unroll
    for (int half = 0; half < 2; half++) found[half] = entries[part.from + min(tile * tileEntries + place[half], part.count - 1)];
  };
  TileRow rows[2];
  uint4 queries[2][4];
  auto loadQueries = [&](const int (&found)[2]) {
#pragma unroll
    for (int half = 0; half < 2; half++) {
      const int entry = found[half] - sectionEntry;
      rows[half].row = byTopK(entry);
      rows[half].partial = entry * group + head[half];
      const uint4* source = q + static_cast<unsigned>(rows[half].row * rules.heads + head[half]) * kChunks;
#pragma unroll
      for (int i = 0; i < 4; i++) queries[half][i] = source[i * 4];
    }
  };

  const int firstTile = warpIndex();
  for (int from = blockIdx.x * share; from < total; from += gridDim.x * share) {
    PartWalk walk(starts, sequences.blocks, from, min(total, from + share));
    ListPart part = walk.advance();
    bool ready = firstTile * tileEntries < part.count;
    if (ready) {
      int found[2];
      loadEntries(part, firstTile, found);
      loadQueries(found);
    }
    while (part.count > 0) {
      const int sequence = lastStartAtMost(sequences.blockStarts, sequences.sequences + 1, part.block);
      const int firstKey = (part.block - sequences.blockStarts[sequence]) * rules.blockSize;
      const int keyTokens = keyCount(sequences, sequence) - firstKey;
      const int64_t firstCopy = ((keyRow(sequences, sequence, firstKey) + copyKey) * rules.kvHeads + kvHead) * kDim + copyChunk * 8;
      __syncthreads();
#pragma unroll
      for (int step = 0; step < M; step += kCopyKeys) {
        const bool valid = step + copyKey < keyTokens;
        const int64_t source = firstCopy + (valid ? step * rules.kvHeads * kDim : copyKey * -rules.kvHeads * kDim);
        copyAsync16(keyTarget + (step / 8 * 128 + step % 8 * 4) * 16, static_cast<const uint16_t*>(params.k) + source, valid);
        copyAsync16((valueTarget ^ step % 8 * 16) + step * kRowBytes, static_cast<const uint16_t*>(params.v) + source, valid);
      }
      commitCopies();
      const ListPart following = walk.advance();
      const bool followingReady = firstTile * tileEntries < following.count;
      int followingEntries[2] = {0, 0};
      int nextEntries[2] = {0, 0};
      if (followingReady) loadEntries(following, firstTile, followingEntries);
      loadEntries(part, firstTile + W, nextEntries);
      const int tiles = (part.count + tileEntries - 1) / tileEntries;
      // Keys at or before a query of row r of the section: r + seen. Rows ascend, so the first one tells whether a given choice may lie behind its query.
      const int seen = firstPosition(sequences, sequence) + sectionRow - sequences.queryStarts[sequence] - firstKey + 1;
      const bool allVisible = byTopK(entries[part.from] - sectionEntry) + seen >= M;
      waitForCopies<0>();
      __syncthreads();

      for (int tile = firstTile; tile < tiles; tile += W) {
        float scores[M / 8][4] = {};
#pragma unroll
        for (int i = 0; i < 4; i++) {
          const uint4 low = queries[0][i];
          const uint4 high = queries[1][i];
          const uint32_t first[4] = {low.x, high.x, low.y, high.y};
          const uint32_t second[4] = {low.z, high.z, low.w, high.w};
          uint4 key[M / 8];
#pragma unroll
          for (int n = 0; n < M / 8; n++) key[n] = keys[n * 128 + i * 32];
#pragma unroll
          for (int n = 0; n < M / 8; n++) mma(scores[n], first, key[n].x, key[n].y);
#pragma unroll
          for (int n = 0; n < M / 8; n++) mma(scores[n], second, key[n].z, key[n].w);
        }
        const TileRow current[2] = {rows[0], rows[1]};
        const bool more = tile + W < tiles;
        if (more || followingReady) {
          int found[2];
#pragma unroll
          for (int half = 0; half < 2; half++) found[half] = more ? nextEntries[half] : followingEntries[half];
          loadQueries(found);
          loadEntries(part, tile + 2 * W, nextEntries);
        }
        if (!allVisible) {
#pragma unroll
          for (int n = 0; n < M / 8; n++) {
#pragma unroll
            for (int e = 0; e < 4; e++) {
              if (n * 8 + lane % 4 * 2 + e % 2 >= current[e / 2].row + seen) scores[n][e] = -INFINITY;
            }
          }
        }
        bool stored[2];
        uint4* targets[2];
        uint32_t probabilities[M / 16][4];
#pragma unroll
        for (int half = 0; half < 2; half++) {
          stored[half] = used[half] && tile * tileEntries + place[half] < part.count;
          float largest = -INFINITY;
#pragma unroll
          for (int n = 0; n < M / 8; n++) largest = fmaxf(largest, fmaxf(scores[n][2 * half], scores[n][2 * half + 1]));
          largest = fmaxf(largest, __shfl_xor_sync(kWholeWarp, largest, 1));
          largest = fmaxf(largest, __shfl_xor_sync(kWholeWarp, largest, 2)) * factor;
          const float shift = largest == -INFINITY ? 0.0f : largest;
          float sum = 0.0f;
#pragma unroll
          for (int n = 0; n < M / 8; n++) {
#pragma unroll
            for (int e = 2 * half; e < 2 * half + 2; e++) {
              scores[n][e] = exp2Fast(fmaf(scores[n][e], factor, -shift));
              sum += scores[n][e];
            }
          }
          sum += __shfl_xor_sync(kWholeWarp, sum, 1);
          sum += __shfl_xor_sync(kWholeWarp, sum, 2);
          const float share = sum > 0.0f ? __fdividef(1.0f, sum) : 0.0f;
#pragma unroll
          for (int n = 0; n < M / 8; n++) probabilities[n / 2][n % 2 * 2 + half] = packBf16(scores[n][2 * half] * share, scores[n][2 * half + 1] * share);
          if (stored[half] && lane % 4 == 0) partialLse[static_cast<unsigned>(current[half].partial)] = shift + __log2f(sum);
          targets[half] = partials + static_cast<unsigned>(current[half].partial) * kChunks;
        }
#pragma unroll
        for (int a = 0; a < 4; a++) {
          float sums[4][4] = {};
#pragma unroll
          for (int step = 0; step < M / 16; step++) {
            uint32_t value[2][4];
#pragma unroll
            for (int pair = 0; pair < 2; pair++) loadMatrixTransposed(value[pair], (values ^ (4 * a + 2 * pair) * 16) + step * 16 * kRowBytes);
#pragma unroll
            for (int pair = 0; pair < 2; pair++) {
              mma(sums[2 * pair], probabilities[step], value[pair][0], value[pair][1]);
              mma(sums[2 * pair + 1], probabilities[step], value[pair][2], value[pair][3]);
            }
          }
#pragma unroll
          for (int half = 0; half < 2; half++) {
            uint4 packed;
            packed.x = packBf16(sums[0][2 * half], sums[0][2 * half + 1]);
            packed.y = packBf16(sums[1][2 * half], sums[1][2 * half + 1]);
            packed.z = packBf16(sums[2][2 * half], sums[2][2 * half + 1]);
            packed.w = packBf16(sums[3][2 * half], sums[3][2 * half + 1]);
            if (stored[half]) __stcs(&targets[half][a * 4], packed);
          }
        }
      }
      // A warp without a tile in this part has not fetched the next one's yet.
      if (!ready && followingReady) loadQueries(followingEntries);
      ready = followingReady;
      part = following;
    }
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

#define INSTANCE(M, W, BLOCKS)                                                                                                  \
  extern "C" __global__ void __launch_bounds__(W* kLanes, BLOCKS)                                                               \
      attend_selected_bf16_d128_m##M(const __grid_constant__ AttendSelectedParams params) {                                     \
    attendSelected<M, W>(params);                                                                                               \
  }
INSTANCE(16, 1, 16)
INSTANCE(32, 2, 8)
INSTANCE(64, 4, 3)
#undef INSTANCE
PHSA_KERNEL(merge_selected_bf16_d128, AttendSelectedParams, kMergeThreads, mergeSelected)
