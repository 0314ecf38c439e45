// pool_blocks.cu: block representatives as weighted sums of keys (spec 3), and their gradients.
//
// Forward: a warp owns one sub-block of one KV head, its lanes the D dimensions; the keys are read once, in token order. Neighbouring warps take the
// KV heads of the same tokens, so that reads are contiguous. Backward: a warp owns a token of a KV head. The gradient of lambda is summed
// over tokens by one block a head, in a fixed order. Bound: bytes of k. Numerics: f32 throughout.
#include "elements.cuh"
#include "sequences.cuh"
#include "warp.cuh"

struct PoolParams {
  const void* k;             // [Tk, Hkv, D]
  const float* weights;      // [Tk]: fused, or of the global branch
  const float* punctuation;  // [Tk], or null with fused weights
  const float* lambda;       // [Hkv], with punctuation
  float* reps;               // [Hkv, blocks * r, D]
  Sequences sequences;
  Rules rules;
};

struct PoolBackwardParams {
  const void* k;             // [Tk, Hkv, D]
  const float* weights;      // [Tk]
  const float* punctuation;  // [Tk] or null
  const float* lambda;       // [Hkv]
  const float* dReps;        // [Hkv, blocks * r, D]
  void* dk;                  // [Tk, Hkv, D], added to
  float* lambdaTerms;        // [Hkv, Tk], or null where lambda has no gradient
  Sequences sequences;
  Rules rules;
};

struct LambdaGradientParams {
  const float* terms;  // [Hkv, Tk]
  float* dLambda;      // [Hkv], added to
  int tokens;          // Tk
  int kvHeads;
};

template <typename P>
PHSA_DEVICE float tokenWeight(const P& params, int64_t token, float lambda) {
  const float weight = params.weights[token];
  return params.punctuation ? lambda * weight + (1.0f - lambda) * params.punctuation[token] : weight;
}

template <typename T, int D>
PHSA_DEVICE void poolBlocks(const PoolParams& params) {
  constexpr int kPerLane = D / kLanes;
  const Sequences& sequences = params.sequences;
  const Rules& rules = params.rules;
  const int64_t item = static_cast<int64_t>(blockIdx.x) * kWarps + warpIndex();
  const int64_t subBlocks = static_cast<int64_t>(sequences.blocks) * rules.representatives;
  if (item >= subBlocks * rules.kvHeads) return;
  const int kvHead = static_cast<int>(item % rules.kvHeads);
  const int64_t subBlock = item / rules.kvHeads;
  const int block = static_cast<int>(subBlock / rules.representatives);
  const int sequence = lastStartAtMost(sequences.blockStarts, sequences.sequences + 1, block);

  float sums[kPerLane] = {};
  if (sequence < sequences.sequences) {
    const int size = rules.blockSize / rules.representatives;
    const int64_t own = subBlock - static_cast<int64_t>(sequences.blockStarts[sequence]) * rules.representatives;
    const int64_t start = own * size;
    const int64_t end = min(start + size, static_cast<int64_t>(keyCount(sequences, sequence)));
    const float lambda = params.lambda ? params.lambda[kvHead] : 0.0f;
    for (int64_t position = start; position < end; position++) {
      const int64_t token = sequences.keyStarts[sequence] + position;
      const float weight = tokenWeight(params, token, lambda);
      float key[kPerLane];
      loadElements(static_cast<const T*>(params.k) + (token * rules.kvHeads + kvHead) * D + laneIndex() * kPerLane, key);
#pragma unroll
      for (int i = 0; i < kPerLane; i++) sums[i] = fmaf(weight, key[i], sums[i]);
    }
  }
  storeElements(params.reps + (kvHead * subBlocks + subBlock) * D + laneIndex() * kPerLane, sums);
}

template <typename T, int D>
PHSA_DEVICE void poolBlocksBackward(const PoolBackwardParams& params) {
  constexpr int kPerLane = D / kLanes;
  const Sequences& sequences = params.sequences;
  const Rules& rules = params.rules;
  const int64_t item = static_cast<int64_t>(blockIdx.x) * kWarps + warpIndex();
  if (item >= static_cast<int64_t>(sequences.keyTokens) * rules.kvHeads) return;
  const int kvHead = static_cast<int>(item % rules.kvHeads);
  const int token = static_cast<int>(item / rules.kvHeads);
  const int sequence = lastStartAtMost(sequences.keyStarts, sequences.sequences + 1, token);

  float term = 0.0f;
  if (sequence < sequences.sequences) {
    const int subBlock = (token - sequences.keyStarts[sequence]) / (rules.blockSize / rules.representatives);
    const float weight = tokenWeight(params, token, params.lambda ? params.lambda[kvHead] : 0.0f);
    const int64_t row = representativeRow(sequences, rules, sequence, kvHead, subBlock);
    float gradient[kPerLane];
    loadElements(params.dReps + row * D + laneIndex() * kPerLane, gradient);
    const int64_t at = item * D + laneIndex() * kPerLane;
    float sums[kPerLane];
    loadElements(static_cast<T*>(params.dk) + at, sums);
#pragma unroll
    for (int i = 0; i < kPerLane; i++) sums[i] = fmaf(weight, gradient[i], sums[i]);
    storeElements(static_cast<T*>(params.dk) + at, sums);
    if (params.lambdaTerms) {
      float key[kPerLane];
      loadElements(static_cast<const T*>(params.k) + at, key);
      float product = 0.0f;
#pragma unroll
      for (int i = 0; i < kPerLane; i++) product = fmaf(key[i], gradient[i], product);
      // dM / dlambda = Mo - Mp
      term = (params.weights[token] - params.punctuation[token]) * warpSum(product);
    }
  }
  if (params.lambdaTerms && laneIndex() == 0) params.lambdaTerms[static_cast<int64_t>(kvHead) * sequences.keyTokens + token] = term;
}

constexpr int kSumThreads = 256;

PHSA_DEVICE void addLambdaGradient(const LambdaGradientParams& params) {
  __shared__ double sums[kSumThreads];
  const int kvHead = blockIdx.x;
  double sum = 0.0;
  for (int token = threadIdx.x; token < params.tokens; token += kSumThreads) {
    sum += params.terms[static_cast<int64_t>(kvHead) * params.tokens + token];
  }
  sums[threadIdx.x] = sum;
  for (int half = kSumThreads / 2; half > 0; half /= 2) {
    __syncthreads();
    if (threadIdx.x < half) sums[threadIdx.x] += sums[threadIdx.x + half];
  }
  if (threadIdx.x == 0) params.dLambda[kvHead] = static_cast<float>(params.dLambda[kvHead] + sums[0]);
}

#define INSTANCE(SUFFIX, T, D)                                                      \
  PHSA_KERNEL(pool_blocks_##SUFFIX, PoolParams, kThreads, poolBlocks<T, D>)         \
  PHSA_KERNEL(pool_blocks_backward_##SUFFIX, PoolBackwardParams, kThreads, poolBlocksBackward<T, D>)
PHSA_FOR_EACH_TYPE(INSTANCE)
PHSA_KERNEL(pool_lambda_gradient, LambdaGradientParams, kSumThreads, addLambdaGradient)
