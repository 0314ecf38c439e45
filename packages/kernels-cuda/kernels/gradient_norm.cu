// gradient_norm.cu: the L2 norm of many tensors together, and the scale that clips it.
//
// Squares: a launch takes up to 128 tensors; a thread block owns 32,768 elements of one of them and leaves their sum of squares. Total: one thread block adds
// these, in a fixed order. Bound: bytes, floor those of all gradients at 4.3 TB/s.
// Numerics: f32 squares of one 16-byte vector at a time where they neither overflow nor vanish, otherwise f64; all other sums f64.
#include "elements.cuh"
#include "warp.cuh"

struct GradientSlice {
  const void* values;
  int64_t count;
  int firstBlock;  // of the launch
  int type;        // 0: f32, 1: bf16
};

struct GradientSquaresParams {
  GradientSlice slices[128];
  double* partials;  // of this launch, one a thread block
  int slicesUsed;
  int reserved;
};

struct GradientTotalParams {
  const double* partials;
  float* norm;  // [2]: the norm, the clip scale
  int count;
  float maxNorm;
};

constexpr int kSquareThreads = 256;
constexpr int kTotalThreads = 1024;
/** BLOCK_ELEMENTS of gradient-norm.ts. */
constexpr int kBlockElements = 32768;
/** Squares of f32 numbers that vanish in f32 are smaller, and sums of them that matter larger. */
constexpr float kSmallestSum = 1e-30f;
constexpr float kLargestSum = 1e37f;

PHSA_DEVICE double warpTotal(double value) {
#pragma unroll
  for (int offset = kLanes / 2; offset > 0; offset /= 2) value += __shfl_xor_sync(kWholeWarp, value, offset);
  return value;
}

/** Sum over the threads of a block, right in the first warp. */
template <int kBlockThreads>
PHSA_DEVICE double blockTotal(double value) {
  __shared__ double sums[kLanes];
  value = warpTotal(value);
  if (laneIndex() == 0) sums[warpIndex()] = value;
  __syncthreads();
  return warpTotal(laneIndex() < kBlockThreads / kLanes ? sums[laneIndex()] : 0.0);
}

template <int N>
PHSA_DEVICE double squaresOf(const float (&values)[N]) {
  float sum = 0.0f;
#pragma unroll
  for (int i = 0; i < N; i++) sum = fmaf(values[i], values[i], sum);
  if (sum > kSmallestSum && sum < kLargestSum) return sum;
  double exact = 0.0;
#pragma unroll
  for (int i = 0; i < N; i++) exact += static_cast<double>(values[i]) * values[i];
  return exact;
}

template <typename T>
PHSA_DEVICE double squaresFrom(const GradientSlice& slice, int64_t start) {
  constexpr int N = kVector<T>;
  const T* values = static_cast<const T*>(slice.values);
  const int64_t end = min(start + kBlockElements, slice.count);
  double sum = 0.0;
#pragma unroll 4
  for (int64_t at = start + threadIdx.x * N; at + N <= end; at += kSquareThreads * N) {
    float vector[N];
    loadElements(values + at, vector);
    sum += squaresOf(vector);
  }
  // What does not fill a vector.
  const int64_t last = end - end % N + threadIdx.x;
  if (last < end && last >= start) {
    const float vector[1] = {toFloat(values[last])};
    sum += squaresOf(vector);
  }
  return sum;
}

PHSA_DEVICE void gradientSquares(const GradientSquaresParams& params) {
  const int block = blockIdx.x;
  int low = 0;
  int high = params.slicesUsed - 1;
  while (low < high) {
    const int middle = (low + high + 1) / 2;
    if (params.slices[middle].firstBlock <= block) {
      low = middle;
    } else {
      high = middle - 1;
    }
  }
  const GradientSlice& slice = params.slices[low];
  const int64_t start = static_cast<int64_t>(block - slice.firstBlock) * kBlockElements;
  const double sum = blockTotal<kSquareThreads>(slice.type == 0 ? squaresFrom<float>(slice, start) : squaresFrom<bf16>(slice, start));
  if (threadIdx.x == 0) params.partials[block] = sum;
}

PHSA_DEVICE void gradientTotal(const GradientTotalParams& params) {
  double sum = 0.0;
  for (int index = threadIdx.x; index < params.count; index += kTotalThreads) sum += params.partials[index];
  const double norm = sqrt(blockTotal<kTotalThreads>(sum));
  if (threadIdx.x != 0) return;
  const float rounded = static_cast<float>(norm);
  params.norm[0] = rounded;
  // The difference of anything that is not finite is NaN.
  const bool isFinite = rounded - rounded == 0.0f;
  params.norm[1] = !isFinite ? 0.0f : norm <= params.maxNorm ? 1.0f : static_cast<float>(params.maxNorm / norm);
}

PHSA_KERNEL(gradient_squares, GradientSquaresParams, kSquareThreads, gradientSquares)
PHSA_KERNEL(gradient_total, GradientTotalParams, kTotalThreads, gradientTotal)
