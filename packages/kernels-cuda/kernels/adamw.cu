// adamw.cu: one step of AdamW over many parameters.
//
// A launch takes up to 60 parameters; a thread block owns 4,096 elements of one of them. Everything that changes from step to step is read on the device; a
// clip scale of 0 leaves all as it is. Bound: bytes, floor 16 (moments) + 8 (f32 value or master) + the gradient + 2 (bf16 value) an element at 4.3 TB/s.
// Numerics: f32; a bf16 value is its f32 master, rounded once.
#include "elements.cuh"

struct AdamwTensor {
  void* value;
  const void* gradient;
  float* mean;
  float* variance;
  float* master;  // or null
  int64_t count;
  int firstBlock;    // of the launch
  int valueType;     // 0: f32, 1: bf16
  int gradientType;  // 0: f32, 1: bf16
  float weightDecay;
};

struct AdamwParams {
  AdamwTensor tensors[60];
  const float* control;  // [3]: learning rate, 1 - beta1^t, 1 - beta2^t
  const float* norm;     // [2]: norm, clip scale
  int tensorsUsed;
  float beta1;
  float beta2;
  float meanShare;      // 1 - beta1
  float varianceShare;  // 1 - beta2
  float epsilon;
};

constexpr int kThreads = 256;
/** BLOCK_ELEMENTS of adamw.ts. */
constexpr int kBlockElements = 4096;
/** Elements of a thread at once: a 16-byte vector of f32. */
constexpr int kAtOnce = 4;

/** What holds for all elements of a step. */
struct Step {
  float scale;
  float rate;
  float inverseMeanCorrection;
  float inverseVarianceCorrection;
};

template <int N, typename V, typename G>
PHSA_DEVICE void stepElements(const AdamwParams& params, const AdamwTensor& tensor, const Step& step, int64_t at) {
  V* stored = static_cast<V*>(tensor.value) + at;
  float value[N], gradient[N], mean[N], variance[N];
  loadElements(static_cast<const G*>(tensor.gradient) + at, gradient);
  loadElements(tensor.mean + at, mean);
  loadElements(tensor.variance + at, variance);
  if (tensor.master) {
    loadElements(tensor.master + at, value);
  } else {
    loadElements(stored, value);
  }
#pragma unroll
  for (int i = 0; i < N; i++) {
    const float clipped = gradient[i] * step.scale;
    mean[i] = params.beta1 * mean[i] + params.meanShare * clipped;
    variance[i] = params.beta2 * variance[i] + params.varianceShare * clipped * clipped;
    const float root = sqrtf(variance[i] * step.inverseVarianceCorrection) + params.epsilon;
    const float change = mean[i] * step.inverseMeanCorrection / root + tensor.weightDecay * value[i];
    value[i] -= step.rate * change;
  }
  storeElements(tensor.mean + at, mean);
  storeElements(tensor.variance + at, variance);
  if (tensor.master) storeElements(tensor.master + at, value);
  storeElements(stored, value);
}

template <typename V, typename G>
PHSA_DEVICE void stepBlock(const AdamwParams& params, const AdamwTensor& tensor, const Step& step, int64_t start) {
#pragma unroll
  for (int round = 0; round < kBlockElements / (kThreads * kAtOnce); round++) {
    int64_t at = start + (round * kThreads + static_cast<int>(threadIdx.x)) * kAtOnce;
    if (at + kAtOnce <= tensor.count) {
      stepElements<kAtOnce, V, G>(params, tensor, step, at);
      continue;
    }
    for (; at < tensor.count; at++) stepElements<1, V, G>(params, tensor, step, at);
    return;
  }
}

PHSA_DEVICE void adamw(const AdamwParams& params) {
  const float scale = params.norm[1];
  if (scale == 0.0f) return;
  const int block = blockIdx.x;
  int low = 0;
  int high = params.tensorsUsed - 1;
  while (low < high) {
    const int middle = (low + high + 1) / 2;
    if (params.tensors[middle].firstBlock <= block) {
      low = middle;
    } else {
      high = middle - 1;
    }
  }
  const AdamwTensor& tensor = params.tensors[low];
  const int64_t start = static_cast<int64_t>(block - tensor.firstBlock) * kBlockElements;
  const Step step = {scale, params.control[0], 1.0f / params.control[1], 1.0f / params.control[2]};
  if (tensor.valueType == 0) {
    stepBlock<float, float>(params, tensor, step, start);
  } else if (tensor.gradientType == 0) {
    stepBlock<bf16, float>(params, tensor, step, start);
  } else {
    stepBlock<bf16, bf16>(params, tensor, step, start);
  }
}

PHSA_KERNEL(adamw_step, AdamwParams, kThreads, adamw)
