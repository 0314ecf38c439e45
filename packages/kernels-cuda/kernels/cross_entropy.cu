// cross_entropy.cu: losses of a chunk of tokens from their logits in f32, and the gradients of these logits in place; the products with the output
// embedding are matmul's. A block owns a token: one pass for the largest logit and the sum, one that writes the gradient. Bound: bytes of the logits. No
// atomics, every sum in a fixed order.
#include "cross_entropy_rows.cuh"
#include "warp.cuh"

struct CrossEntropyTotalParams {
  const float* tokenLosses;  // [tokens]
  const float* weights;      // [tokens]
  float* loss;               // [1]
  int tokens;
};

struct AddSumsParams {
  const float* sums;  // [count]
  bf16* target;       // [count], added to
  int64_t count;
};

constexpr int kRowThreads = 1024;
constexpr int kRowWarps = kRowThreads / kLanes;
static_assert(kRowWarps == kLanes);
/** Largest logit of a row and the sum of exponentials, in every thread. */
PHSA_DEVICE LogSum sumRow(const float* row, int vocabulary) {
  __shared__ float largests[kRowWarps];
  __shared__ float sums[kRowWarps];
  LogSum total;
  for (int64_t first = threadIdx.x * kRun; first < vocabulary; first += kRowThreads * kRun) {
    float values[kRun];
    loadRun(row, first, vocabulary, values);
    float largest = values[0];
#pragma unroll
    for (int i = 1; i < kRun; i++) largest = fmaxf(largest, values[i]);
    float sum = 0.0f;
#pragma unroll
    for (int i = 0; i < kRun; i++) sum += shiftedExp(values[i], largest);
    total.merge(largest, sum);
  }
  total.mergeLanes();
  if (laneIndex() == 0) {
    largests[warpIndex()] = total.largest;
    sums[warpIndex()] = total.sum;
  }
  __syncthreads();
  // As many warps as lanes.
  total.largest = largests[laneIndex()];
  total.sum = sums[laneIndex()];
  total.mergeLanes();
  return total;
}

/** weight (softmax - one at the target) in place of the logits; all 0 for weight 0. */
template <typename T>
PHSA_DEVICE void writeGradient(float* row, int vocabulary, int target, float weight, const LogSum& total) {
  T* gradient = reinterpret_cast<T*>(row);
  const float factor = weight / total.sum;
  for (int64_t start = 0; start < vocabulary; start += kRowThreads * kRun) {
    const int64_t first = start + threadIdx.x * kRun;
    float values[kRun] = {};
    if (weight != 0.0f && first < vocabulary) {
      loadRun(row, first, vocabulary, values);
#pragma unroll
      for (int i = 0; i < kRun; i++) {
        values[i] = factor * shiftedExp(values[i], total.largest);
        if (first + i == target) values[i] -= weight;
      }
    }
    // A row of a narrower type overwrites logits that others have read by then.
    __syncthreads();
    storeRun(gradient + first, values, vocabulary - first);
  }
}

template <typename T, bool Gradient>
PHSA_DEVICE void crossEntropy(const CrossEntropyParams& params) {
  float* row = params.logits + blockIdx.x * params.stride;
  const float weight = params.weights[blockIdx.x];
  const int target = params.targets[blockIdx.x];
  LogSum total;
  if (weight != 0.0f) {
    total = sumRow(row, params.vocabulary);
    // The largest logit is subtracted first: logits may be far larger than the loss.
    if (threadIdx.x == 0) params.tokenLosses[blockIdx.x] = total.largest - row[target] + logf(total.sum);
  } else if (threadIdx.x == 0) {
    params.tokenLosses[blockIdx.x] = 0.0f;
  }
  if constexpr (Gradient) writeGradient<T>(row, params.vocabulary, target, weight, total);
}

/** The weighted sum of the token losses, in f64 and in an order that depends on their number alone. */
PHSA_DEVICE void crossEntropyTotal(const CrossEntropyTotalParams& params) {
  __shared__ double sums[kRowThreads];
  double sum = 0.0;
  for (int token = threadIdx.x; token < params.tokens; token += kRowThreads) {
    sum += static_cast<double>(params.weights[token]) * static_cast<double>(params.tokenLosses[token]);
  }
  sums[threadIdx.x] = sum;
  for (int half = kRowThreads / 2; half > 0; half /= 2) {
    __syncthreads();
    if (threadIdx.x < half) sums[threadIdx.x] += sums[threadIdx.x + half];
  }
  if (threadIdx.x == 0) params.loss[0] = static_cast<float>(sums[0]);
}

constexpr int kAddThreads = 256;

PHSA_DEVICE void addSums(const AddSumsParams& params) {
  const int64_t all = static_cast<int64_t>(gridDim.x) * kAddThreads;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * kAddThreads + threadIdx.x; i < params.count; i += all) {
    params.target[i] = fromFloat<bf16>(toFloat(params.target[i]) + params.sums[i]);
  }
}

PHSA_KERNEL(cross_entropy_loss, CrossEntropyParams, kRowThreads, crossEntropy<float, false>)
PHSA_KERNEL(cross_entropy_gradient_f32, CrossEntropyParams, kRowThreads, crossEntropy<float, true>)
PHSA_KERNEL(cross_entropy_gradient_bf16, CrossEntropyParams, kRowThreads, crossEntropy<bf16, true>)
PHSA_KERNEL(cross_entropy_total, CrossEntropyTotalParams, kRowThreads, crossEntropyTotal)
PHSA_KERNEL(add_sums_bf16, AddSumsParams, kAddThreads, addSums)
