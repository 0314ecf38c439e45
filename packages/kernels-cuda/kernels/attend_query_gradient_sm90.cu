// attend_query_gradient_sm90.cu: gradient of q (spec 5): the part of first tokens, local window and dense queries, plus the given parts of the
// selected blocks. bf16, D 128, power-of-two groups. Deterministic: no atomics.
//
// A thread block stays on its multiprocessor and takes tiles of 128 rows (query, head of the group), 64 for each of two warpgroups, whose rows of Q
// are left operands in registers. A producer warpgroup copies the tile's keys and values ahead, 64 a step, and the next tile's rows meanwhile. A
// step is Q K^T and dO V^T, then dQ += ds K with ds in registers; the scores of the next step are queued before this step's last product is done.
// Meanwhile a fourth warpgroup sums the parts of the selected blocks and leaves them in dq, in bf16, for the two that add theirs.
// Numerics: ds in bf16 for its product, f32 sums. Bound: tensor cores, 3 x 64 x 64 x 128 a step; with selected blocks, reading their parts.
#include "hopper.cuh"
#include "sequences.cuh"
#include "wgmma.cuh"

struct QueryGradientSlabParams {
  const void* q;           // [Tq, Hq, 128]
  const void* k;           // [Tk, Hkv, 128]
  const void* v;
  const int* selected;     // [Hkv, Tq, topK]
  const float* lse;        // [Tq, Hq]
  const float* delta;      // [Tq, Hq]
  const void* dOut;        // [Tq, Hq, 128]
  const void* dqPartials;  // bf16 [kvHeads of the slab, rows of the slab, topK, G, 128]: only slots with a block are read
  void* dq;                // [Tq, Hq, 128], written for the slab
  Sequences sequences;
  Rules rules;
  int firstRow;
  int rows;
  int firstKvHead;
  int kvHeads;
};

namespace querygradient {

constexpr int kDim = 128;
constexpr int kRows = 128;
constexpr int kRowsPerGroup = 64;
constexpr int kKeys = 64;
constexpr int kStages = 4;
/** Selected blocks whose parts are read at once. */
constexpr int kSlots = 8;
constexpr int kThreads = 512;
constexpr int kProducers = 128;
constexpr int kConsumerWarps = 8;
constexpr int kAdders = 128;
constexpr int kConsumers = 256;
constexpr uint32_t kRowBytes = kRows * kDim * 2;
constexpr uint32_t kKeyBytes = kKeys * kDim * 2;
constexpr float kLog2E = 1.4426950408889634f;

// Byte offsets in shared memory, from a multiple of 1024 on.
constexpr uint32_t kDOutsAt = kRowBytes;  // two, in turn
constexpr uint32_t kStagesAt = 3 * kRowBytes;
constexpr uint32_t kLogsAt = kStagesAt + kStages * 2 * kKeyBytes;
constexpr uint32_t kBarriersAt = kLogsAt + 2 * kRows * 4;
constexpr uint32_t kRowsFullAt = kBarriersAt + kStages * 16;
constexpr uint32_t kRowsEmptyAt = kRowsFullAt + 8;
constexpr uint32_t kDOutsEmptyAt = kRowsEmptyAt + 8;
constexpr uint32_t kAddedAt = kDOutsEmptyAt + 8;
constexpr uint32_t kTakenAt = kAddedAt + 8;
constexpr uint32_t kCountsAt = kTakenAt + 8;
constexpr uint32_t kSharedBytes = kCountsAt + kRows;

PHSA_DEVICE void copyAsync4(uint32_t target, const void* source, bool valid) {
  asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;\n" ::"r"(target), "l"(source), "r"(valid ? 4 : 0));
}

/** Consecutive queries of a sequence and KV head, and the keys that any of them sees without having chosen them. */
struct Tile {
  int kvHead;
  int sequence;  // S for rows that belong to none
  int firstRow;
  int rows;
  int position;     // of the first row
  int initEnd;      // first tokens, where the window does not begin before their end
  int windowStart;  // window, or everything
  int end;          // behind the last key that is seen
  int initSteps;
  int steps;

  PHSA_DEVICE int firstKey(int step) const { return step < initSteps ? step * kKeys : windowStart + (step - initSteps) * kKeys; }
  PHSA_DEVICE int endKey(int step) const { return min(firstKey(step) + kKeys, step < initSteps ? initEnd : end); }
};

/** Where the window of a query begins, 0 for a dense one. */
PHSA_DEVICE int windowStartOf(const Rules& rules, int position, int denseBelow) {
  return position < denseBelow ? 0 : candidateBlocks(rules, position, denseBelow).end * rules.blockSize;
}

/** Tiles that may meet the rows of the slab. */
PHSA_DEVICE int firstTile(const QueryGradientSlabParams& params, int queries) { return max(0, params.firstRow / queries - 1); }
PHSA_DEVICE int tileCount(const QueryGradientSlabParams& params, int queries) {
  return (params.firstRow + params.rows) / queries + params.sequences.sequences + 1 - firstTile(params, queries);
}

PHSA_DEVICE Tile tileOf(const QueryGradientSlabParams& params, int item, int queries) {
  const Sequences& sequences = params.sequences;
  // Last tiles first: dense ones are the longest.
  const int index = firstTile(params, queries) + tileCount(params, queries) - 1 - item / params.kvHeads;
  const RowTile rows = rowTile(sequences.queryStarts, sequences.sequences, sequences.queryTokens, queries, index);
  Tile tile;
  tile.kvHead = params.firstKvHead + item % params.kvHeads;
  tile.sequence = rows.sequence;
  tile.firstRow = max(rows.first, params.firstRow);
  tile.rows = max(0, min(rows.end, params.firstRow + params.rows) - tile.firstRow);
  tile.position = tile.initEnd = tile.windowStart = tile.end = tile.initSteps = tile.steps = 0;
  if (tile.rows == 0 || rows.sequence >= sequences.sequences) return tile;
  const Rules& rules = params.rules;
  tile.position = firstPosition(sequences, rows.sequence) + tile.firstRow - sequences.queryStarts[rows.sequence];
  tile.end = tile.position + tile.rows;
  tile.windowStart = windowStartOf(rules, tile.position, rules.denseBelow);
  tile.initEnd = min(rules.initBlocks * rules.blockSize, tile.end);
  if (tile.windowStart <= rules.initBlocks * rules.blockSize) tile.windowStart = tile.initEnd = 0;
  tile.initSteps = (tile.initEnd + kKeys - 1) / kKeys;
  tile.steps = tile.initSteps + (tile.end - tile.windowStart + kKeys - 1) / kKeys;
  return tile;
}

/** Commits what was copied, then tells of the group before it, which must have arrived. */
PHSA_DEVICE void commitFor(uint32_t barrier, uint32_t& pending) {
  commitCopies();
  if (pending) {
    waitForCopies<1>();
    fenceAsyncProxy();
    arrive(pending);
  }
  pending = barrier;
}

PHSA_DEVICE void produce(const QueryGradientSlabParams& params, uint32_t shared, int shift) {
  const Sequences& sequences = params.sequences;
  const int thread = threadIdx.x;
  const int chunk = thread & 15;
  const int first = thread >> 4;
  const int queries = kRows >> shift;
  const int items = tileCount(params, queries) * params.kvHeads;
  const uint32_t rowTarget = shared + operandOffset(first, chunk, kRows);
  const uint32_t keyTarget = shared + kStagesAt + operandOffset(first, chunk, kKeys);
  const int64_t valueOffset = static_cast<const char*>(params.v) - static_cast<const char*>(params.k);
  const int keyStride = 8 * params.rules.kvHeads * kDim * 2;
  uint32_t pending = 0;
  int turn = 0;
  int tiles = 0;
  for (int item = blockIdx.x; item < items; item += gridDim.x) {
    const Tile tile = tileOf(params, item, queries);
    if (tile.steps == 0) continue;
    if (tiles > 0) waitForPhase(shared + kRowsEmptyAt, (tiles - 1) & 1);
    if (tiles > 1) waitForPhase(shared + kDOutsEmptyAt, tiles & 1);
    const uint32_t dOutTarget = rowTarget + kDOutsAt + (tiles & 1) * kRowBytes;
    tiles++;
    const int64_t start = static_cast<int64_t>(tile.firstRow) * params.rules.heads + (tile.kvHead << shift);
#pragma unroll 4
    for (int i = 0; i < kRows / 8; i++) {
      const int row = first + 8 * i;
      const bool valid = row >> shift < tile.rows;
      const int64_t at = valid ? (start + (row >> shift) * params.rules.heads + (row & ((1 << shift) - 1))) * (kDim * 2) + chunk * 16 : 0;
      copyAsync16(rowTarget + i * 1024, static_cast<const char*>(params.q) + at, valid);
      copyAsync16(dOutTarget + i * 1024, static_cast<const char*>(params.dOut) + at, valid);
    }
    const bool valid = thread >> shift < tile.rows;
    const int64_t at = valid ? start + (thread >> shift) * params.rules.heads + (thread & ((1 << shift) - 1)) : 0;
    copyAsync4(shared + kLogsAt + thread * 4, params.lse + at, valid);
    copyAsync4(shared + kLogsAt + (kRows + thread) * 4, params.delta + at, valid);
    commitFor(shared + kRowsFullAt, pending);

    const int64_t keyStart = sequences.keyStarts[tile.sequence];
    for (int step = 0; step < tile.steps; step++, turn++) {
      const int stage = turn % kStages;
      const uint32_t barriers = shared + kBarriersAt + stage * 16;
      if (turn >= kStages) waitForPhase(barriers + 8, (turn / kStages - 1) & 1);
      const int firstKey = tile.firstKey(step);
      const int keys = tile.endKey(step) - firstKey;
      const uint32_t target = keyTarget + stage * 2 * kKeyBytes;
      const char* source = static_cast<const char*>(params.k) + ((keyStart + firstKey + first) * params.rules.kvHeads + tile.kvHead) * (kDim * 2) + chunk * 16;
      if (keys == kKeys) {
#pragma unroll
        for (int i = 0; i < kKeys / 8; i++) {
          copyAsync16(target + i * 1024, source, true);
          copyAsync16(target + i * 1024 + kKeyBytes, source + valueOffset, true);
          source += keyStride;
        }
      } else {
#pragma unroll 1
        for (int i = 0; i < kKeys / 8; i++) {
          const bool valid = first + 8 * i < keys;
          const char* from = valid ? source : static_cast<const char*>(params.k);
          copyAsync16(target + i * 1024, from, valid);
          copyAsync16(target + i * 1024 + kKeyBytes, from + valueOffset, valid);
          source += keyStride;
        }
      }
      commitFor(barriers, pending);
    }
  }
  if (pending) {
    waitForCopies<0>();
    fenceAsyncProxy();
    arrive(pending);
  }
}

/** A 4 x 4 transpose between four neighbouring lanes: word i of lane l goes to lane i as word l. */
PHSA_DEVICE void exchange(float& w0, float& w1, float& w2, float& w3) {
  const bool odd = threadIdx.x & 1;
  const bool high = threadIdx.x & 2;
  const float a = __shfl_xor_sync(0xFFFFFFFF, odd ? w0 : w1, 1);
  const float b = __shfl_xor_sync(0xFFFFFFFF, odd ? w2 : w3, 1);
  (odd ? w0 : w1) = a;
  (odd ? w2 : w3) = b;
  const float c = __shfl_xor_sync(0xFFFFFFFF, high ? w0 : w2, 2);
  const float d = __shfl_xor_sync(0xFFFFFFFF, high ? w1 : w3, 2);
  (high ? w0 : w2) = c;
  (high ? w1 : w3) = d;
}

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

/** Writes the sums of the selected blocks' parts to dq, tile by tile, for the warpgroups that add theirs. */
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
    for (int row = thread / 16; row < rows; row += kAdders / 16) {
      const int query = row >> shift;
      const int head = row & ((1 << shift) - 1);
      const int chosen = counts[query];
      const uint4* part = static_cast<const uint4*>(params.dqPartials) + ((((slabRow + query) * topK) << shift) + head) * 16 + thread % 16;
      const int nextRow = row + kAdders / 16;
      if (nextRow < rows && thread % 16 < topK) {
        const int64_t next = (((slabRow + (nextRow >> shift)) * topK + thread % 16) << shift) + (nextRow & ((1 << shift) - 1));
        prefetchRow(static_cast<const char*>(params.dqPartials) + next * (kDim * 2));
      }
      float sums[8] = {};
      for (int first = 0; first < chosen; first += kSlots) {
        uint4 words[kSlots];
#pragma unroll
        for (int s = 0; s < kSlots; s++) {
          words[s] = first + s < chosen ? __ldcs(part + (static_cast<int64_t>(s) << (shift + 4))) : make_uint4(0, 0, 0, 0);
        }
#pragma unroll
        for (int s = 0; s < kSlots; s++) addWords(sums, words[s]);
        part += static_cast<int64_t>(kSlots) << (shift + 4);
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

/** Adds what dq holds where `added`, and writes the sums of `row` and of the eighth row behind it. */
PHSA_DEVICE void finish(const QueryGradientSlabParams& params, const Tile& tile, float (&sums)[64], bool added, int row, int shift) {
  const int quad = threadIdx.x & 3;
  const float scale = params.rules.scale;
#pragma unroll
  for (int r = 0; r < 2; r++) {
    // Columns 32 i + 8 quad + 2 j + c to sums[4 (4 i + j) + 2 r + c].
#pragma unroll
    for (int i = 0; i < 4; i++) {
#pragma unroll
      for (int c = 0; c < 2; c++) {
        const int at = 16 * i + 2 * r + c;
        exchange(sums[at], sums[at + 4], sums[at + 8], sums[at + 12]);
      }
    }
    const int query = (row + 8 * r) >> shift;
    const int head = (row + 8 * r) & ((1 << shift) - 1);
    if (query >= tile.rows) continue;
    uint4* target = static_cast<uint4*>(params.dq) +
                    (static_cast<int64_t>(tile.firstRow + query) * params.rules.heads + (tile.kvHead << shift) + head) * 16 + quad;
    uint4 words[4];
#pragma unroll
    for (int i = 0; i < 4; i++) words[i] = added ? target[4 * i] : make_uint4(0, 0, 0, 0);
#pragma unroll
    for (int i = 0; i < 4; i++) {
      float row[8] = {};
      addWords(row, words[i]);
#pragma unroll
      for (int j = 0; j < 8; j++) row[j] = fmaf(sums[16 * i + 4 * (j / 2) + 2 * r + j % 2], scale, row[j]);
      target[4 * i] = make_uint4(packBf16(row[0], row[1]), packBf16(row[2], row[3]), packBf16(row[4], row[5]), packBf16(row[6], row[7]));
    }
  }
}

/** Descriptors differ in their low words: address and `leading`, in units of 16 bytes. */
PHSA_DEVICE uint64_t operand(uint32_t low) { return static_cast<uint64_t>(0x40000040) << 32 | low; }
PHSA_DEVICE uint32_t alongK(uint32_t address) { return address >> 4 | 1 << 16; }
PHSA_DEVICE uint32_t acrossK(uint32_t address) { return address >> 4 | (kKeys * 128 >> 4) << 16; }

/** Queues the product of 64 rows with the keys, or values, of a stage. */
PHSA_DEVICE void queueProduct(float (&products)[32], const uint32_t (&rows)[8][4], uint32_t keysAt) {
  const uint32_t keys = alongK(keysAt);
  wgmmaFence();
#pragma unroll
  for (int k = 0; k < 8; k++) wgmma<0>(products, rows[k], operand(keys + (k / 4 * kKeys * 128 + k % 4 * 32) / 16), k > 0);
  wgmmaCommit();
}

PHSA_DEVICE void queueProduct(float (&products)[32], uint32_t rowsAt, uint32_t keysAt) {
  const uint32_t rows = alongK(rowsAt);
  const uint32_t keys = alongK(keysAt);
  wgmmaFence();
#pragma unroll
  for (int k = 0; k < 8; k++) {
    wgmma<0, 0>(products, operand(rows + (k / 4 * kRows * 128 + k % 4 * 32) / 16), operand(keys + (k / 4 * kKeys * 128 + k % 4 * 32) / 16), k > 0);
  }
  wgmmaCommit();
}

/** The same number in every lane, known to be so. */
PHSA_DEVICE int uniform(int value) { return __shfl_sync(0xFFFFFFFF, value, 0); }

PHSA_DEVICE void consume(const QueryGradientSlabParams& params, const unsigned char* bytes, uint32_t shared, int shift) {
  const Rules& rules = params.rules;
  const int group = uniform(threadIdx.x / 128) - 2;
  const int lane = threadIdx.x & 31;
  const int quad = lane & 3;
  const int warpRow = group * kRowsPerGroup + (threadIdx.x / 32 & 3) * 16;
  const int row = warpRow + lane / 4;
  const int queries = kRows >> shift;
  const int items = tileCount(params, queries) * params.kvHeads;
  const float scale = rules.scale * kLog2E;
  const bool elected = lane == 0;
  int turn = 0;
  int tiles = 0;
  for (int item = blockIdx.x; item < items; item += gridDim.x) {
    const Tile tile = tileOf(params, item, queries);
    if (tile.rows == 0) continue;
    float sums[64];
#pragma unroll
    for (int i = 0; i < 64; i++) sums[i] = 0.0f;
    if (tile.steps > 0) {
      int positions[2];
      int starts[2];
      float lse[2];
      float delta[2];
#pragma unroll
      for (int r = 0; r < 2; r++) {
        const int query = (row + 8 * r) >> shift;
        positions[r] = tile.position + query;
        starts[r] = windowStartOf(rules, positions[r], rules.denseBelow);
      }
      const int initEnd = rules.initBlocks * rules.blockSize;
      const int groupFirst = tile.position + (group * kRowsPerGroup >> shift);
      const int groupLast = min(tile.end, groupFirst + max(1, kRowsPerGroup >> shift)) - 1;
      const int groupStart = windowStartOf(rules, groupFirst, rules.denseBelow);
      const int groupLastStart = windowStartOf(rules, max(groupFirst, groupLast), rules.denseBelow);

      uint32_t query[8][4];
      waitForPhase(shared + kRowsFullAt, tiles & 1);
      const uint32_t dOutsAt = shared + kDOutsAt + uniform(tiles & 1) * kRowBytes + group * kRowsPerGroup * 128;
      tiles++;
      const float* logs = reinterpret_cast<const float*>(bytes + kLogsAt) + row;
#pragma unroll
      for (int r = 0; r < 2; r++) {
        lse[r] = logs[8 * r] * -kLog2E;
        delta[r] = logs[kRows + 8 * r];
      }
#pragma unroll
      for (int k = 0; k < 8; k++) {
        const uint32_t at = shared + operandOffset(warpRow + (lane & 15), 2 * k + (lane >> 4), kRows);
        loadMatrix(query[k], at);
      }
      arrive(shared + kRowsEmptyAt);

      // The next step, from `step` on, that this warpgroup's rows see, or the last one; the others are given back.
      const auto nextStep = [&](int step) {
        while (step < tile.steps - 1) {
          const bool seen = tile.firstKey(step) <= groupLast && (step < tile.initSteps || tile.endKey(step) > groupStart || tile.firstKey(step) < initEnd);
          const uint32_t barriers = shared + kBarriersAt + (turn + step) % kStages * 16;
          waitForPhase(barriers, (turn + step) / kStages & 1);
          if (seen) break;
          if (elected) arrive(barriers + 8);
          step++;
        }
        if (step == tile.steps - 1) waitForPhase(shared + kBarriersAt + (turn + step) % kStages * 16, (turn + step) / kStages & 1);
        return uniform(step);
      };

      float scores[32];
      float dProbabilities[32];
      int step = nextStep(0);
      queueProduct(scores, query, shared + kStagesAt + (turn + step) % kStages * 2 * kKeyBytes);
      for (;;) {
        const uint32_t keysAt = shared + kStagesAt + (turn + step) % kStages * 2 * kKeyBytes;
        const uint32_t barriers = shared + kBarriersAt + (turn + step) % kStages * 16;
        const int firstKey = tile.firstKey(step);
        const int endKey = tile.endKey(step);
        queueProduct(dProbabilities, dOutsAt, keysAt + kKeyBytes);
        wgmmaWait<1>();
        settle(scores);
#pragma unroll
        for (int j = 0; j < 8; j++) {
#pragma unroll
          for (int r = 0; r < 2; r++) {
            scores[4 * j + 2 * r] = exp2Fast(fmaf(scores[4 * j + 2 * r], scale, lse[r]));
            scores[4 * j + 2 * r + 1] = exp2Fast(fmaf(scores[4 * j + 2 * r + 1], scale, lse[r]));
          }
        }
        if (endKey > groupFirst + 1 || !(endKey <= initEnd || firstKey >= groupLastStart)) {
#pragma unroll
          for (int j = 0; j < 8; j++) {
#pragma unroll
            for (int c = 0; c < 2; c++) {
              const int key = firstKey + 8 * j + 2 * quad + c;
#pragma unroll
              for (int r = 0; r < 2; r++) {
                if (key > positions[r] || (key < starts[r] && key >= initEnd)) scores[4 * j + 2 * r + c] = 0.0f;
              }
            }
          }
        }
        wgmmaWait<0>();
        settle(dProbabilities);
        uint32_t dScores[4][4];
#pragma unroll
        for (int j = 0; j < 8; j++) {
#pragma unroll
          for (int r = 0; r < 2; r++) {
            const int at = 4 * j + 2 * r;
            dScores[j / 2][j % 2 * 2 + r] = packBf16(scores[at] * (dProbabilities[at] - delta[r]), scores[at + 1] * (dProbabilities[at + 1] - delta[r]));
          }
        }
        wgmmaFence();
#pragma unroll
        for (int k = 0; k < 4; k++) wgmma<1>(sums, dScores[k], operand(acrossK(keysAt) + 128 * k), 1);
        wgmmaCommit();
        step = nextStep(step + 1);
        if (step == tile.steps) break;
        queueProduct(scores, query, shared + kStagesAt + (turn + step) % kStages * 2 * kKeyBytes);
        wgmmaWait<1>();
        settle(sums);
        if (elected) arrive(barriers + 8);
      }
      wgmmaWait<0>();
      settle(sums);
      if (elected) arrive(shared + kBarriersAt + (turn + tile.steps - 1) % kStages * 16 + 8);
      turn += tile.steps;
      if (elected) arrive(shared + kDOutsEmptyAt);
      if (params.dqPartials) {
        waitForPhase(shared + kAddedAt, (tiles - 1) & 1);
        if (elected) arrive(shared + kTakenAt);
      }
    }
    finish(params, tile, sums, params.dqPartials && tile.steps > 0, row, shift);
  }
}

}  // namespace querygradient

extern "C" __global__ void __launch_bounds__(querygradient::kThreads, 1)
    attend_query_gradient_sm90(const __grid_constant__ QueryGradientSlabParams params) {
  using namespace querygradient;
  PHSA_DYNAMIC_SHARED(dynamic);
  const uint32_t at = sharedAddress(dynamic);
  const uint32_t shared = (at + 1023) & ~1023u;
  unsigned char* bytes = dynamic + (shared - at);
  const int shift = 31 - __clz(params.rules.heads / params.rules.kvHeads);
  if (threadIdx.x == 0) {
    for (int stage = 0; stage < kStages; stage++) {
      initBarrier(shared + kBarriersAt + stage * 16, kProducers);
      initBarrier(shared + kBarriersAt + stage * 16 + 8, kConsumerWarps);
    }
    initBarrier(shared + kRowsFullAt, kProducers);
    initBarrier(shared + kRowsEmptyAt, kConsumers);
    initBarrier(shared + kDOutsEmptyAt, kConsumerWarps);
    initBarrier(shared + kAddedAt, kAdders);
    initBarrier(shared + kTakenAt, kConsumerWarps);
  }
  __syncthreads();
  if (threadIdx.x < kProducers) {
    shrinkRegisters<24>();
    produce(params, shared, shift);
  } else if (threadIdx.x < kProducers + kAdders) {
    shrinkRegisters<72>();
    add(params, bytes, shared, shift);
  } else {
    growRegisters<208>();
    consume(params, bytes, shared, shift);
  }
}
