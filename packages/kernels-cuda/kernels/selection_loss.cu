// selection_loss.cu: the block distillation loss (spec 10) and its gradient of q; that of the representatives is in selection_loss_reps.cu.
//
// A thread block owns one sampled query of one KV head, a lane one sub-block at a time. The loss kernel finds each head's log-sum-exp, then log P of
// each block, kept in logarithms so that no P is rounded to 0, and leaves both for the gradients, P in the form of BlockExcess. A last block sums
// over samples. The gradient of q needs two more passes over the scores: the total of each head's excesses, then dScore times the representatives.
// Numerics: f32 in logarithms, totals over samples in f64 in a fixed order. Bound: n x L / m scores, four times over with gradients.
#include "selection_sample.cuh"

struct SelectionLossParams {
  SelectionLossInput input;
};

struct SelectionLossTotalParams {
  SelectionLossInput input;
  float* loss;  // [1]
};

struct SelectionLossQueryParams {
  SelectionLossInput input;
  void* dq;  // [Tq, Hq, D], added to
  float coefficient;
};

/** The sums of all threads of a block; ends with a barrier. */
PHSA_DEVICE float blockSum(float value, float (&sums)[kWarps]) {
  value = warpSum(value);
  if (laneIndex() == 0) sums[warpIndex()] = value;
  __syncthreads();
  float total = 0.0f;
  for (int warp = 0; warp < kWarps; warp++) total += sums[warp];
  __syncthreads();
  return total;
}

template <typename T, int D>
PHSA_DEVICE void selectionLoss(const SelectionLossParams& params) {
  __shared__ GroupShared<D> shared;
  __shared__ float warpSums[kWarps];
  const SelectionLossInput& input = params.input;
  const Rules& rules = input.rules;
  const int kvHead = blockIdx.y;
  const int64_t item = static_cast<int64_t>(kvHead) * input.count + blockIdx.x;
  const int group = rules.heads / rules.kvHeads;
  const int r = rules.representatives;
  const SelectionSample sample = selectionSample(input, blockIdx.x);
  if (sample.empty()) {
    if (threadIdx.x < 2) input.partial[item * 2 + threadIdx.x] = 0.0f;
    return;
  }
  loadGroup<T>(shared, input.q, static_cast<int64_t>(sample.row) * rules.heads + kvHead * group, group);
  const int firstRow = sample.candidates.start * r;
  const int count = (sample.candidates.end - sample.candidates.start) * r;
  const float* reps = input.reps + representativeRow(input.sequences, rules, sample.sequence, kvHead, firstRow) * D;
  sumGroup(shared, group, count, rules.scale, [=](int index) { return reps + static_cast<int64_t>(index) * D; });
  if (threadIdx.x < group) input.headLogs[item * group + threadIdx.x] = shared.log(threadIdx.x);

  const int64_t firstBlock = item * input.maxBlocks + sample.candidates.start;
  // First of all: each block's excess is measured against it.
  float total = 0.0f;
  for (int index = threadIdx.x; index < count / r; index += kThreads) total += input.mass[firstBlock + index];
  __syncwarp();
  total = blockSum(total, warpSums);

  float loss = 0.0f;
  for (int first = warpIndex() * kLanes; first < count; first += kThreads) {
    const int index = first + laneIndex();
    LogSum shares;
    if (index < count) {
      for (int firstHead = 0; firstHead < group; firstHead += kHeads) {
        float scores[kHeads] = {};
        dotRows<D>(reps + static_cast<int64_t>(index) * D, shared.queries[firstHead], scores);
#pragma unroll
        for (int h = 0; h < kHeads; h++) {
          if (firstHead + h < group) shares.add(shared.log(firstHead + h).share(scores[h], rules.scale));
        }
      }
    }
    __syncwarp();
    // Sub-blocks of a block lie side by side: r divides 32.
    for (int offset = 1; offset < r; offset *= 2) {
      const float largest = __shfl_xor_sync(kWholeWarp, shares.largest, offset);
      const float sum = __shfl_xor_sync(kWholeWarp, shares.sum, offset);
      shares.merge(largest, sum);
    }
    if (index % r == 0 && index < count) {
      const int64_t at = firstBlock + index / r;
      const float mass = input.mass[at];
      input.blockExcesses[at] = BlockExcess::make(mass, shares.largest, shares.sum, total / group);
      if (mass > 0.0f) loss -= mass * (shares.log() - logf(static_cast<float>(group)));
    }
  }
  __syncwarp();
  loss = blockSum(loss, warpSums);
  if (threadIdx.x == 0) {
    input.partial[item * 2] = loss;
    input.partial[item * 2 + 1] = total;
  }
}

constexpr int kTotalThreads = 256;

/** Sums over all samples and KV heads. */
PHSA_DEVICE void selectionLossTotal(const SelectionLossTotalParams& params) {
  __shared__ double sums[2][kTotalThreads];
  const SelectionLossInput& input = params.input;
  const int64_t items = static_cast<int64_t>(input.rules.kvHeads) * input.count;
  double own[2] = {};
  for (int64_t item = threadIdx.x; item < items; item += kTotalThreads) {
    own[0] += input.partial[item * 2];
    own[1] += input.partial[item * 2 + 1];
  }
  sums[0][threadIdx.x] = own[0];
  sums[1][threadIdx.x] = own[1];
  for (int half = kTotalThreads / 2; half > 0; half /= 2) {
    __syncthreads();
    if (threadIdx.x >= half) continue;
    sums[0][threadIdx.x] += sums[0][threadIdx.x + half];
    sums[1][threadIdx.x] += sums[1][threadIdx.x + half];
  }
  if (threadIdx.x != 0) return;
  const float loss = sums[1][0] == 0.0 ? 0.0f : static_cast<float>(sums[0][0] / sums[1][0]);
  params.loss[0] = loss;
  input.totals[0] = loss;
  input.totals[1] = static_cast<float>(sums[1][0]);
}

template <int D>
struct alignas(16) QuerySumsShared {
  float sums[kWarps][kHeads][D];
  float dScores[kWarps][kLanes][kHeads];
  float totals[kHeads];
  float warpSums[kWarps];
};

template <typename T, int D>
PHSA_DEVICE void selectionLossQuery(const SelectionLossQueryParams& params) {
  constexpr int kPerLane = D / kLanes;
  __shared__ GroupShared<D> shared;
  __shared__ QuerySumsShared<D> own;
  const SelectionLossInput& input = params.input;
  const Rules& rules = input.rules;
  const int kvHead = blockIdx.y;
  const int64_t item = static_cast<int64_t>(kvHead) * input.count + blockIdx.x;
  const int group = rules.heads / rules.kvHeads;
  const int r = rules.representatives;
  const int lane = laneIndex();
  const SelectionSample sample = selectionSample(input, blockIdx.x);
  if (sample.empty()) return;
  const int64_t groupRow = static_cast<int64_t>(sample.row) * rules.heads + kvHead * group;
  loadGroup<T>(shared, input.q, groupRow, group);
  const int count = (sample.candidates.end - sample.candidates.start) * r;
  const float* reps = input.reps + representativeRow(input.sequences, rules, sample.sequence, kvHead, sample.candidates.start * r) * D;
  const BlockExcess* excesses = input.blockExcesses + item * input.maxBlocks + sample.candidates.start;
  const float factor = gradientFactor(input, params.coefficient) * rules.scale;

  for (int firstHead = 0; firstHead < group; firstHead += kHeads) {
    HeadLog logs[kHeads];
    float totals[kHeads] = {};
#pragma unroll
    for (int h = 0; h < kHeads; h++) logs[h] = firstHead + h < group ? input.headLogs[item * group + firstHead + h] : HeadLog{};
    for (int index = warpIndex() * kLanes + lane; index < count; index += kThreads) {
      float scores[kHeads] = {};
      dotRows<D>(reps + static_cast<int64_t>(index) * D, shared.queries[firstHead], scores);
#pragma unroll
      for (int h = 0; h < kHeads; h++) totals[h] += excesses[index / r].of(logs[h].share(scores[h], rules.scale));
    }
    __syncwarp();
#pragma unroll
    for (int h = 0; h < kHeads; h++) {
      totals[h] = blockSum(totals[h], own.warpSums);
      if (threadIdx.x == 0 && firstHead + h < group) input.headExcesses[item * group + firstHead + h] = totals[h];
    }

    float sums[kHeads][kPerLane] = {};
    for (int first = warpIndex() * kLanes; first < count; first += kThreads) {
      const int index = first + lane;
      if (index < count) {
        float scores[kHeads] = {};
        dotRows<D>(reps + static_cast<int64_t>(index) * D, shared.queries[firstHead], scores);
#pragma unroll
        for (int h = 0; h < kHeads; h++) {
          const float share = logs[h].share(scores[h], rules.scale);
          own.dScores[warpIndex()][lane][h] = (expf(share) * totals[h] - excesses[index / r].of(share)) * factor;
        }
      }
      __syncwarp();
      for (int other = 0; other < min(kLanes, count - first); other++) {
        float representative[kPerLane];
        loadElements(reps + static_cast<int64_t>(first + other) * D + lane * kPerLane, representative);
#pragma unroll
        for (int h = 0; h < kHeads; h++) {
          const float dScore = own.dScores[warpIndex()][other][h];
#pragma unroll
          for (int i = 0; i < kPerLane; i++) sums[h][i] = fmaf(dScore, representative[i], sums[h][i]);
        }
      }
      __syncwarp();
    }
#pragma unroll
    for (int h = 0; h < kHeads; h++) storeElements(&own.sums[warpIndex()][h][lane * kPerLane], sums[h]);
    __syncthreads();
    for (int index = threadIdx.x; index < min(kHeads, group - firstHead) * D; index += kThreads) {
      float sum = 0.0f;
      for (int warp = 0; warp < kWarps; warp++) sum += own.sums[warp][index / D][index % D];
      T* target = static_cast<T*>(params.dq) + (groupRow + firstHead) * D + index;
      *target = fromFloat<T>(toFloat(*target) + sum);
    }
    __syncthreads();
  }
}

#define INSTANCE(SUFFIX, T, D)                                                                        \
  PHSA_KERNEL(selection_loss_##SUFFIX, SelectionLossParams, kThreads, selectionLoss<T, D>)            \
  PHSA_KERNEL(selection_loss_query_##SUFFIX, SelectionLossQueryParams, kThreads, selectionLossQuery<T, D>)
PHSA_FOR_EACH_TYPE(INSTANCE)
PHSA_KERNEL(selection_loss_total, SelectionLossTotalParams, kTotalThreads, selectionLossTotal)
