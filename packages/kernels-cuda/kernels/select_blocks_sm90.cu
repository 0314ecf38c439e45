// select_blocks_sm90.cu: the topK blocks of each query and KV head (spec 4) with Hopper's tensor cores: packed, bf16, D 128, one representative a block.
//
// A thread block owns 64 queries of one KV head for each of its warpgroups; its last one streams the tiles of select_tiles_sm90.cu past them. Softmax
// scores take two passes: the log-sum-exp of each head, then the scores again, summed over the group. Logit scores are one product with the sum of the
// group's queries. What a row's best blocks are is row_selection.cuh's. One operand of queries: three warpgroups, of which some look at scores while
// another multiplies. Two heads: two warpgroups with two accumulators each. More heads, or softmax with more than 16 blocks to choose: the heads' queries
// are streamed past each tile.
// Numerics: queries (of logit their sum) and representatives rounded to f16, f32 scores; they are compared by their upper bits, see row_lists.cuh.
// Bound: instructions and latency, most of all the minimum and maximum pipe and the lists (logit), exponentials (softmax); the products take 0.085 ms
// (logit) and 0.35 ms (softmax) at L 32768 with 16/8 heads.
#include "row_selection.cuh"
#include "select_queries.cuh"
#include "sequences.cuh"
#include "wgmma.cuh"

struct SelectTensorParams {
  const void* q;      // bf16 [Tq, Hq, D]
  const void* tiles;  // of select_tiles_sm90
  int* selected;      // [Hkv, Tq, topK]
  Sequences sequences;
  Rules rules;
};

/** Query heads of a group at most. */
constexpr int kMostHeads = 16;
/** Added to exponents of the second pass: probabilities down to 2^-226 stay apart. */
constexpr float kLift = 100.0f;

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
    growRegisters<Groups == 2 ? 240 : 160>();
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
        if constexpr (Heads == 1) {
          for (int index = 0; index < scoredTiles; index++) {
            float scores[64];
            product(scores, queries, tileReady());
            wgmmaWait<0>();
            settle(scores);
            tileDone();
            addTile(scores, index, sums0[0], sums1[0]);
          }
        } else {
          // The next product runs while the scores of the last one are added; behind the last tile it is one that nobody reads.
          float first[64];
          float second[64];
          uint32_t operand = tileReady();
          product(first, queries, operand);
          for (int index = 0; index < scoredTiles; index++) {
            wgmmaWait<0>();
            settle(first);
            product(second, queries + kQueryBytes, operand);
            addTile(first, index, sums0[0], sums1[0]);
            wgmmaWait<0>();
            settle(second);
            tileDone();
            if (index + 1 < scoredTiles) operand = tileReady();
            product(first, queries, operand);
            addTile(second, index, sums0[1], sums1[1]);
          }
          wgmmaWait<0>();
        }
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
    if constexpr (Heads == 1) {
      for (int index = firstTile; index < endTile; index++) {
        float scores[64];
        product(scores, queries, tileReady());
        wgmmaWait<0>();
        settle(scores);
        tileDone();
        if (Softmax) powers(scores, lift0[0], lift1[0]);
        offer(scores, index);
      }
    } else if constexpr (!Stream) {
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
        for (int head = 0; head < group; head++) {
          float scores[64];
          syncThreads(1 + warpgroup, 128);
          product(scores, queries + (turn & 1) * kQueryBytes, operand);
          turn++;
          loader.put(buffers + (turn & 1) * kQueryBytes);
          fenceAsyncProxy();
          loader.fetch((head + 2) % group);
          wgmmaWait<0>();
          settle(scores);
          addPowers(sums, scores, lifts[head * kRows], lifts[head * kRows + 8]);
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

SELECT_KERNEL(select_logit_sm90, 1, false, false, 3, 36, 2, true)
SELECT_KERNEL(select_logit_many_sm90, 1, false, false, 3, 36, 2, false)
SELECT_KERNEL(select_softmax_sm90_g1, 1, true, false, 3, 36, 2, true)
SELECT_KERNEL(select_softmax_sm90_g2, 2, true, false, 2, 48, 2, true)
SELECT_KERNEL(select_softmax_sm90, 2, true, true, 2, 40, 2, true)
SELECT_KERNEL(select_softmax_many_sm90, 2, true, true, 2, 40, 2, false)
