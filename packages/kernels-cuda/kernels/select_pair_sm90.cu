// select_pair_sm90.cu: the topK blocks of each query of a group of two heads by the softmax score (spec 4) in one pass: packed or paged, bf16, D 128,
// one representative a block, at most 16 blocks to choose.
//
// A thread block owns 32 queries of one KV head for each of three warpgroups. The operand of a warpgroup has both heads of a query 8 rows apart, so that
// one thread has both scores of a block in one accumulator: it sums their exponentials and keeps the candidates of pair_selection.cuh. The last tile that
// all queries see comes first, because scores near a query are large. A thread block whose queries may have lost a block goes over all tiles once more with
// the sums of the first time, for the warps that have such queries; one whose sums overflow after the largest scores have been found.
// Numerics: queries and representatives rounded to f16, f32 scores; exponentials by a reference that is the largest of the first tile.
// Bound: latency of 12 warps, a third of the issue slots; products, exponentials and the minimum and maximum pipe each take 0.17 ms at L 32768 with 16/8
// heads.
#include "pair_selection.cuh"
#include "select_products.cuh"

/** Warpgroups with queries, and queries of each. */
constexpr int kGroups = 3;
constexpr int kGroupQueries = 32;
/** Entries of a lane's list, and tiles in shared memory. */
constexpr int kCapacity = 36;
constexpr int kStages = 2;
/** Added to exponents: what is so much smaller than the reference is still a number, and sums have room for larger scores. */
constexpr float kFirstLift = 40.0f;
constexpr float kLargestLift = 100.0f;

/** Where things lie in shared memory. */
constexpr int kTilesAt = kGroups * kQueryBytes;
constexpr int kListsAt = kTilesAt + kStages * kTileBytes;
constexpr int kBarriersAt = kListsAt + kGroups * 4 * kCapacity * kPairStride;
constexpr int kVerdictsAt = kBarriersAt + 2 * kStages * 8;
static_assert(kVerdictsAt + 16 <= 227 * 1024);

/** Choose while the sums are learned; find the largest scores; choose by the sums. */
enum Pass { kLearn = 0, kLargest = 1, kAgain = 2, kDone = 3 };
enum Verdict { kRight = 0, kMayMiss = 1, kOverflowed = 2 };

/** What all warps do next, the producer's too. */
struct Passes {
  Pass pass = kLearn;
  int learned = 0;
  uint32_t verdicts;  // in shared memory, one word for each time that kLearn has run

  PHSA_DEVICE void advance() {
    if (pass == kLearn) {
      syncThreads(15, kGroups * 128 + 32);
      const uint32_t verdict = loadShared(verdicts + learned * 4);
      pass = verdict == kRight ? kDone : verdict == kOverflowed && learned == 0 ? kLargest : kAgain;
      learned++;
    } else {
      pass = pass == kLargest ? kLearn : kDone;
    }
  }
};

extern "C" __global__ void __launch_bounds__(kGroups * 128 + 128, 1) select_softmax_sm90_g2(const __grid_constant__ SelectTensorParams params) {
  extern __shared__ __align__(1024) unsigned char shared[];
  const Sequences& sequences = params.sequences;
  const Rules& rules = params.rules;
  const int kvHead = blockIdx.x;
  const RowTile tile =
      rowTile(sequences.queryStarts, sequences.sequences, sequences.queryTokens, kGroups * kGroupQueries, gridDim.y - 1 - blockIdx.y);
  if (tile.first >= tile.end) return;
  int* selected = params.selected + (static_cast<int64_t>(kvHead) * sequences.queryTokens + tile.first) * rules.topK;
  const int thread = threadIdx.x;
  const int tileRows = tile.end - tile.first;
  const Query limits = tile.sequence < sequences.sequences ? queryOf(sequences, rules, tile.sequence, tile.first) : Query{-1, 0, 0, 0};
  const int firstPos = limits.position;
  const BlockRange widest = candidateBlocks(rules, firstPos + tileRows - 1, limits.denseBelow);
  if (limits.topK == 0 || widest.start >= widest.end) {
    for (int index = thread; index < tileRows * rules.topK; index += kGroups * 128 + 128) selected[index] = -1;
    return;
  }

  const uint32_t base = sharedAddress(shared);
  const uint32_t full = base + kBarriersAt;
  const uint32_t empty = full + kStages * 8;
  if (thread == 0) {
    for (int stage = 0; stage < kStages; stage++) {
      initBarrier(full + stage * 8, 1);
      initBarrier(empty + stage * 8, kGroups * 128);
    }
    storeShared(base + kVerdictsAt, kRight);
    storeShared(base + kVerdictsAt + 4, kRight);
    fenceAsyncProxy();
  }
  const int tiles = ((firstPos + tileRows) / rules.blockSize + kTile - 1) / kTile;
  const int front = max(0, (firstPos + 1) / rules.blockSize - 1) / kTile;
  const auto tileOf = [&](int step) { return step == 0 ? front : step <= front ? step - 1 : step; };
  Passes passes;
  passes.verdicts = base + kVerdictsAt;
  __syncthreads();

  if (thread >= kGroups * 128) {
    shrinkRegisters<24>();
    if (thread >= kGroups * 128 + 32) return;
    const unsigned char* source = static_cast<const unsigned char*>(params.tiles) + tileOffset(sequences, kvHead, tile.sequence, 0);
    for (int first = 0; passes.pass != kDone; first += tiles, passes.advance()) {
      if (thread == kGroups * 128) {
        for (int step = first; step < first + tiles; step++) {
          const int stage = step % kStages;
          if (step >= kStages) waitForPhase(empty + stage * 8, (step / kStages - 1) & 1);
          expectBytes(full + stage * 8, kTileBytes);
          copyBulk(base + kTilesAt + stage * kTileBytes, source + static_cast<int64_t>(tileOf(step - first)) * kTileBytes, kTileBytes, full + stage * 8);
        }
      }
      __syncwarp();
    }
  } else {
    growRegisters<160>();
    const int warpgroup = thread / 128;
    const int lane = thread & 31;
    const uint32_t queries = base + warpgroup * kQueryBytes;
    QueryLoader loader{static_cast<const unsigned char*>(params.q),
                       (static_cast<int64_t>(tile.first + warpgroup * kGroupQueries) * rules.heads + kvHead * 2) * kDim * 2, rules.heads * kDim * 2,
                       tileRows - warpgroup * kGroupQueries};
    loader.fetchPairs();
    loader.put(shared + warpgroup * kQueryBytes);
    fenceAsyncProxy();
    syncThreads(1 + warpgroup, 128);

    const int row = thread / 32 * 8 + lane / 4;
    const int laneColumn = (lane & 3) * 2;
    const float factor = rules.scale * 1.4426950408889634f;
    const int complete = row < tileRows ? (firstPos + row + 1) / rules.blockSize : 0;
    const int end = row < tileRows ? candidateBlocks(rules, firstPos + row, limits.denseBelow).end : 0;
    int* target = row < tileRows ? selected + static_cast<int64_t>(row) * rules.topK : nullptr;
    PairSelection<kCapacity> selection(base + kListsAt + thread / 32 * kCapacity * kPairStride, tiles * kTile, front * kTile);
    const auto liftOf = [&](float own, float lift) {
      const float top = -quadLeast(-own);
      // Rounded down: however large scores are, none of them becomes more than 2^lift.
      return top > kLowest ? __fmaf_rd(-top, factor, lift) : 0.0f;
    };
    float lifts[2] = {0.0f, 0.0f};
    bool settled = false;  // the warp's rows are right
    int step = 0;
    while (passes.pass != kDone) {
      float sums[2] = {0.0f, 0.0f};
      float largest[2] = {kLowest, kLowest};
      selection.clear(passes.pass == kAgain ? selection.floor : 0.0f);
      for (int turn = 0; turn < tiles; turn++, step++) {
        const int index = tileOf(turn);
        const int stage = step % kStages;
        waitForPhase(full + stage * 8, step / kStages & 1);
        float scores[64];
        product(scores, queries, base + kTilesAt + stage * kTileBytes);
        wgmmaWait<0>();
        settle(scores);
        arrive(empty + stage * 8);
        if (settled && passes.pass == kAgain) continue;
        if (__any_sync(kWarpMask, (index + 1) * kTile > complete)) maskScores(scores, index * kTile + laneColumn, 0, complete, complete);
        if (passes.pass == kLargest || (turn == 0 && passes.learned == 0)) {
#pragma unroll
          for (int e = 0; e < 64; e++) largest[e / 2 % 2] = fmaxf(largest[e / 2 % 2], scores[e]);
          if (passes.pass == kLargest) continue;
          lifts[0] = liftOf(largest[0], kFirstLift);
          lifts[1] = liftOf(largest[1], kFirstLift);
        }
        float parts[4] = {sums[0], sums[1], 0.0f, 0.0f};
#pragma unroll
        for (int e = 0; e < 64; e++) {
          scores[e] = exp2Fast(scores[e] * factor + lifts[e / 2 % 2]);
          parts[e / 2 % 2 + e % 2 * 2] += scores[e];
        }
        sums[0] = parts[0] + parts[2];
        sums[1] = parts[1] + parts[3];
        if (passes.pass == kLearn) selection.weigh(quadSum(sums[0]), quadSum(sums[1]));
        if (index * kTile >= widest.end || (index + 1) * kTile <= widest.start) continue;
        const bool masked = __any_sync(kWarpMask, index * kTile < widest.start || (index + 1) * kTile > end);
        selection.offer(scores, index * kUnits, masked, widest.start - index * kTile, end - index * kTile);
      }
      if (passes.pass == kLargest) {
        lifts[0] = liftOf(largest[0], kLargestLift);
        lifts[1] = liftOf(largest[1], kLargestLift);
      } else if (!(settled && passes.pass == kAgain)) {
        const float first = quadSum(sums[0]);
        const float second = quadSum(sums[1]);
        const bool finite = first < CUDART_INF_F && second < CUDART_INF_F && (complete == 0 || (first > 0.0f && second > 0.0f));
        const float exactWeight = passes.pass == kLearn && first > 0.0f && second > 0.0f ? first / second : selection.weight;
        const bool kept = selection.write(exactWeight, limits.topK, rules.topK, target);
        const Verdict verdict = finite ? kept ? kRight : kMayMiss : kOverflowed;
        if (verdict == kOverflowed) selection.floor = 0.0f;
        const uint32_t worst = __reduce_max_sync(kWarpMask, static_cast<uint32_t>(verdict));
        settled = worst == kRight;
        if (passes.pass == kLearn && worst != kRight && lane == 0) {
          asm volatile("red.shared.max.u32 [%0], %1;\n" ::"r"(passes.verdicts + passes.learned * 4), "r"(worst) : "memory");
        }
      }
      passes.advance();
    }
  }
}
