// select_blocks_sm90.cu: the topK blocks of each query and KV head (spec 4) with Hopper's tensor cores: packed or paged, bf16, D 128, one
// representative a block.
//
// A thread block owns 64 queries of one KV head for each of its warpgroups; its last one streams the tiles of select_tiles_sm90.cu past them. What a row's
// best blocks are is row_selection.cuh's. Logit scores are one product with the sum of the group's queries: three warpgroups, of which some look at scores
// while another multiplies. The softmax scores of one head rank as its logits do, those of two heads are select_pair_sm90.cu's where few blocks are chosen.
// Those of more take two passes here: the log-sum-exp of each head, then the scores again, summed over the group; the heads' queries are streamed past each
// tile.
// Numerics: queries (of logit their sum) and representatives rounded to f16, f32 scores; they are compared by their upper bits, see row_lists.cuh.
// Bound: instructions and latency, most of all the minimum and maximum pipe and the lists (logit), exponentials (softmax); the products take 0.085 ms
// (logit) at L 32768 with 16/8 heads.
#include "row_selection.cuh"
#include "select_products.cuh"

/** Query heads of a group at most. */
constexpr int kMostHeads = 16;
/** Added to exponents of the second pass: probabilities down to 2^-226 stay apart. */
constexpr float kLift = 100.0f;

/** Tiles in shared memory. */
constexpr int kStages = 2;

/** How a variant divides shared memory: a warpgroup has one operand of queries, the sum of the group, or two for a stream of heads. */
template <bool Softmax, int Groups, int Capacity>
struct SelectShared {
  static constexpr int kHeads = Softmax ? 2 : 1;
  static constexpr int kTiles = Groups * kHeads * kQueryBytes;
  static constexpr int kLists = kTiles + kStages * kTileBytes;
  static constexpr int kLifts = kLists + Groups * 4 * 2 * Capacity * kEntryStride;
  static constexpr int kBarriers = kLifts + (Softmax ? Groups * kMostHeads * kRows * 4 : 0);
  static constexpr int kBytes = kBarriers + 2 * kStages * 8;
  static_assert(kBytes <= 227 * 1024);
};

/** Log-sum-exp of a row so far, in powers of two. */
struct RowSum {
  float largest = kLowest;
  float sum = 0.0f;
};

template <bool Softmax, int Groups, int Capacity, bool Maxima>
PHSA_DEVICE void selectTensor(const SelectTensorParams& params) {
  using Shared = SelectShared<Softmax, Groups, Capacity>;
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
  const Query limits = tile.sequence < sequences.sequences ? queryOf(sequences, rules, tile.sequence, tile.first) : Query{-1, 0, 0, 0};
  const int firstPos = limits.position;
  const BlockRange widest = candidateBlocks(rules, firstPos + tileRows - 1, limits.denseBelow);
  if (limits.topK == 0 || widest.start >= widest.end) {
    for (int index = thread; index < tileRows * rules.topK; index += Groups * 128 + 128) selected[index] = -1;
    return;
  }

  const uint32_t base = sharedAddress(shared);
  const uint32_t full = base + Shared::kBarriers;
  const uint32_t empty = full + kStages * 8;
  if (thread == 0) {
    for (int stage = 0; stage < kStages; stage++) {
      initBarrier(full + stage * 8, 1);
      initBarrier(empty + stage * 8, Groups * 128);
    }
    fenceAsyncProxy();
  }
  const int group = rules.heads / rules.kvHeads;
  const int scoredTiles = Softmax ? ((firstPos + tileRows) / rules.blockSize + kTile - 1) / kTile : 0;
  const int firstTile = widest.start / kTile;
  const int endTile = (widest.end + kTile - 1) / kTile;
  const int scoredSteps = scoredTiles * group;
  const int steps = scoredSteps + endTile - firstTile;
  __syncthreads();

  if (thread >= Groups * 128) {
    shrinkRegisters<24>();
    if (thread == Groups * 128) {
      const unsigned char* tiles = static_cast<const unsigned char*>(params.tiles) + tileOffset(sequences, kvHead, tile.sequence, 0);
      for (int step = 0; step < steps; step++) {
        const int stage = step % kStages;
        if (step >= kStages) waitForPhase(empty + stage * 8, (step / kStages - 1) & 1);
        expectBytes(full + stage * 8, kTileBytes);
        const int index = step < scoredSteps ? step % max(scoredTiles, 1) : step - scoredSteps + firstTile;
        copyBulk(base + Shared::kTiles + stage * kTileBytes, tiles + static_cast<int64_t>(index) * kTileBytes, kTileBytes, full + stage * 8);
      }
    }
  } else {
    growRegisters<Groups == 2 ? 240 : 160>();
    const int warpgroup = thread / 128;
    const int lane = thread & 31;
    const uint32_t queries = base + warpgroup * Shared::kHeads * kQueryBytes;
    QueryLoader loader{static_cast<const unsigned char*>(params.q),
                       (static_cast<int64_t>(tile.first + warpgroup * kRows) * rules.heads + kvHead * group) * kDim * 2, rules.heads * kDim * 2,
                       tileRows - warpgroup * kRows};
    if (Softmax) {
      loader.fetch(0);
      loader.put(shared + warpgroup * Shared::kHeads * kQueryBytes);
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
      const int stage = step % kStages;
      waitForPhase(full + stage * 8, step / kStages & 1);
      return base + Shared::kTiles + stage * kTileBytes;
    };
    auto tileDone = [&]() {
      arrive(empty + step % kStages * 8);
      step++;
    };

    const float factor = rules.scale * 1.4426950408889634f;
    float* lifts = reinterpret_cast<float*>(shared + Shared::kLifts) + thread / 128 * kMostHeads * kRows + thread % 128 / 32 * 16 + lane / 4;
    uint32_t turn = 0;
    unsigned char* const buffers = shared + warpgroup * Shared::kHeads * kQueryBytes;
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
    }

    const int end0 = row0 < tileRows ? candidateBlocks(rules, firstPos + row0, limits.denseBelow).end : 0;
    const int end1 = row1 < tileRows ? candidateBlocks(rules, firstPos + row1, limits.denseBelow).end : 0;
    Selection<Capacity, Maxima> selection(base + Shared::kLists + thread / 32 * 2 * Capacity * kEntryStride, endTile * kTile, limits.topK);
    const auto offer = [&](float(&scores)[64], int index) {
      const int column = index * kTile + laneColumn;
      if (__any_sync(kWarpMask, index * kTile < widest.start || (index + 1) * kTile > min(end0, end1))) {
        maskScores(scores, column, widest.start, end0, end1);
      }
      selection.offer(scores, column);
    };
    const auto addPowers = [&](float(&sums)[64], const float(&scores)[64], float own0, float own1) {
#pragma unroll
      for (int e = 0; e < 64; e++) sums[e] += exp2Fast(scores[e] * factor + (e & 2 ? own1 : own0));
    };
    if constexpr (!Softmax) {
      for (int index = firstTile; index < endTile; index++) {
        float scores[64];
        product(scores, queries, tileReady());
        wgmmaWait<0>();
        settle(scores);
        tileDone();
        offer(scores, index);
      }
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
    selection.write(rules.topK, row0 < tileRows ? selected + static_cast<int64_t>(row0) * rules.topK : nullptr,
                    row1 < tileRows ? selected + static_cast<int64_t>(row1) * rules.topK : nullptr);
  }
}

#define SELECT_KERNEL(NAME, SOFTMAX, GROUPS, CAPACITY, MAXIMA)                                                                  \
  extern "C" __global__ void __launch_bounds__(GROUPS * 128 + 128, 1) NAME(const __grid_constant__ SelectTensorParams params) { \
    selectTensor<SOFTMAX, GROUPS, CAPACITY, MAXIMA>(params);                                                                    \
  }

SELECT_KERNEL(select_logit_sm90, false, 3, 36, true)
SELECT_KERNEL(select_logit_many_sm90, false, 3, 36, false)
SELECT_KERNEL(select_softmax_sm90, true, 2, 40, true)
SELECT_KERNEL(select_softmax_many_sm90, true, 2, 40, false)
