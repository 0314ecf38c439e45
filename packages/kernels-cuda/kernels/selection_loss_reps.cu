// selection_loss_reps.cu: gradient of the block distillation loss with respect to the representatives (spec 10). Deterministic: no atomics.
//
// Representative-major, like the key gradients of attend_backward.cu: a thread block owns 16 sub-blocks of one sequence and KV head and walks all
// sampled query heads, 32 at a time in shared memory; a batch that no candidate range reaches is passed over. Each of the 4 warps has 4 of the
// sub-blocks: a lane is a query head for dScore, then D / 32 dimensions. Numerics: f32. Bound: n G x blocks scores.
#include "selection_sample.cuh"

struct SelectionLossRepsParams {
  SelectionLossInput input;
  float* dReps;  // [Hkv, blocks * r, D], zero beforehand
  float coefficient;
};

/** Sub-blocks that a thread block owns, and those of each warp. */
constexpr int kOwned = 16;
constexpr int kOwnedPerWarp = kOwned / kWarps;
/** Floats that keep the rows of query heads on different banks. */
constexpr int kPad = 4;

template <int D>
struct alignas(16) RepsGradientShared {
  float queries[kLanes][D + kPad];
  float reps[kOwned][D];
  float dScores[kLanes][kOwned];
};

template <typename T, int D>
PHSA_DEVICE void selectionLossReps(const SelectionLossRepsParams& params) {
  constexpr int kPerLane = D / kLanes;
  __shared__ RepsGradientShared<D> shared;
  const SelectionLossInput& input = params.input;
  const Sequences& sequences = input.sequences;
  const Rules& rules = input.rules;
  const int kvHead = blockIdx.y;
  const int group = rules.heads / rules.kvHeads;
  const int r = rules.representatives;
  const int lane = laneIndex();
  const int tilesPerBlock = (r + kOwned - 1) / kOwned;
  // Several blocks a tile where r is small; a tile never crosses a sequence.
  const int blocksPerTile = max(1, kOwned / r);
  const RowTile tile = rowTile(sequences.blockStarts, sequences.sequences, sequences.blocks, blocksPerTile, blockIdx.x / tilesPerBlock);
  if (tile.first >= tile.end || tile.sequence == sequences.sequences) return;
  const int firstBlock = tile.first - sequences.blockStarts[tile.sequence];
  const int endBlock = tile.end - sequences.blockStarts[tile.sequence];
  const int firstSub = firstBlock * r + blockIdx.x % tilesPerBlock * kOwned;
  const int owned = min(kOwned, endBlock * r - firstSub);
  const int64_t firstRow = representativeRow(sequences, rules, tile.sequence, kvHead, firstSub);
  for (int index = threadIdx.x; index < kOwned * D; index += kThreads) {
    shared.reps[index / D][index % D] = index / D < owned ? input.reps[firstRow * D + index] : 0.0f;
  }
  const float factor = gradientFactor(input, params.coefficient) * rules.scale;

  float sums[kOwnedPerWarp][kPerLane] = {};
  const int ownSub = warpIndex() * kOwnedPerWarp;
  const int64_t items = static_cast<int64_t>(input.count) * group;
  for (int64_t first = 0; first < items; first += kLanes) {
    const int64_t item = first + lane;
    const int index = static_cast<int>(item / group);
    SelectionSample sample{-1, -1, {0, 0}};
    if (item < items) sample = selectionSample(input, index);
    const bool reaches = !sample.empty() && sample.sequence == tile.sequence && sample.candidates.start < endBlock && firstBlock < sample.candidates.end;
    // All warps see the same items, so all of them go on or none does.
    const unsigned reaching = __ballot_sync(kWholeWarp, reaches);
    if (reaching == 0) continue;
    const int64_t head = static_cast<int64_t>(sample.row) * rules.heads + kvHead * group + item % group;
    __syncthreads();
    for (int other = warpIndex(); other < kLanes; other += kWarps) {
      const int64_t otherHead = __shfl_sync(kWholeWarp, head, other);
      float query[kPerLane] = {};
      if (reaching >> other & 1) loadElements(static_cast<const T*>(input.q) + otherHead * D + lane * kPerLane, query);
      storeElements(&shared.queries[other][lane * kPerLane], query);
    }
    __syncthreads();

    float scores[kOwnedPerWarp] = {};
    dotRows<D>(shared.queries[lane], shared.reps[ownSub], scores);
    const int64_t sampleItem = static_cast<int64_t>(kvHead) * input.count + index;
    const HeadLog log = reaches ? input.headLogs[sampleItem * group + item % group] : HeadLog{};
    const float total = reaches ? input.headExcesses[sampleItem * group + item % group] : 0.0f;
#pragma unroll
    for (int i = 0; i < kOwnedPerWarp; i++) {
      const int sub = firstSub + ownSub + i;
      const int block = sub / r;
      float dScore = 0.0f;
      if (reaches && ownSub + i < owned && block >= sample.candidates.start && block < sample.candidates.end) {
        const float share = log.share(scores[i], rules.scale);
        const int64_t at = sampleItem * input.maxBlocks + block;
        dScore = (expf(share) * total - input.blockExcesses[at].of(share)) * factor;
      }
      shared.dScores[lane][ownSub + i] = dScore;
    }
    __syncwarp();
    for (int other = 0; other < kLanes; other++) {
      float query[kPerLane];
      loadElements(&shared.queries[other][lane * kPerLane], query);
#pragma unroll
      for (int i = 0; i < kOwnedPerWarp; i++) {
        const float dScore = shared.dScores[other][ownSub + i];
#pragma unroll
        for (int d = 0; d < kPerLane; d++) sums[i][d] = fmaf(dScore, query[d], sums[i][d]);
      }
    }
    __syncwarp();
  }
#pragma unroll
  for (int i = 0; i < kOwnedPerWarp; i++) {
    if (ownSub + i < owned) storeElements(params.dReps + (firstRow + ownSub + i) * D + lane * kPerLane, sums[i]);
  }
}

#define INSTANCE(SUFFIX, T, D) PHSA_KERNEL(selection_loss_reps_##SUFFIX, SelectionLossRepsParams, kThreads, selectionLossReps<T, D>)
PHSA_FOR_EACH_TYPE(INSTANCE)
