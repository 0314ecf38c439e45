// rms_norm.cu: RMS norm of rows and its gradients.
//
// Persistent thread blocks: some warps own a row, whose elements stay in registers, so that each is read once, while the next rows are under way. Backward: a
// thread sums the weight's gradient over its rows, and a block leaves one partial row for column_sums.cu: a fixed order. Rows that are no whole 16-byte
// vectors, or too wide for registers, are read twice, element by element.
// Bound: bytes, floor 2 (forward), 4 (with a sum) or 3 (backward) times T E elements at 4.3 TB/s. Numerics: f32, one rounding on store.
#include "row_ring.cuh"

struct RmsNormParams {
  const void* x;       // [T, E]
  const void* other;   // [T, E], added to x first by add_rms_norm_*
  void* sum;           // [T, E], of these, as it is normed
  const void* weight;  // [E]
  void* y;             // [T, E]
  int64_t rows;        // T
  int width;           // E
  float epsilon;
};

struct RmsNormBackwardParams {
  const void* dy;      // [T, E]
  const void* x;       // [T, E]
  const void* weight;  // [E]
  void* dx;            // [T, E]
  float* partials;     // [thread blocks, E]
  int64_t rows;        // T
  int width;           // E
  float epsilon;
};

/** @tparam W element type of the weight; kOwners: warps that own a row; kCount: vectors of a thread; kStages: rows in the ring; kAdds: see `other` */
template <typename T, typename W, int kOwners, int kCount, int kStages, bool kAdds>
PHSA_DEVICE void rmsNorm(const RmsNormParams& params) {
  using Ring = RowRing<T, kOwners, kCount, kAdds ? 2 : 1, kStages>;
  constexpr int N = Ring::N;
  constexpr int kGroups = kRowWarps / kOwners;
  PHSA_DYNAMIC_SHARED(memory);
  const Ring ring = {reinterpret_cast<typename Ring::Vector*>(memory)};
  const int group = warpIndex() / kOwners;
  const int64_t stride = static_cast<int64_t>(gridDim.x) * kGroups;
  const int64_t begin = static_cast<int64_t>(blockIdx.x) * kGroups;
  const auto load = [&](int stage, int64_t row) {
    if (row < params.rows) {
      ring.begin(stage, 0, params.x, row, params.width);
      if constexpr (kAdds) ring.begin(stage, 1, params.other, row, params.width);
    }
    endCopies();
  };
  for (int stage = 0; stage < kStages - 1; stage++) load(stage, begin + group + stage * stride);
  int turn = 0;
  for (int64_t first = begin; first < params.rows; first += stride, turn++) {
    const int64_t row = first + group;
    load((turn + kStages - 1) % kStages, row + (kStages - 1) * stride);
    waitForCopies<kStages - 1>();
    typename Ring::Vector x[kCount] = {};
    if (row < params.rows) ring.read(turn % kStages, 0, params.width, x);
    if constexpr (kAdds) {
      typename Ring::Vector other[kCount] = {};
      if (row < params.rows) ring.read(turn % kStages, 1, params.width, other);
#pragma unroll
      for (int k = 0; k < kCount; k++) {
#pragma unroll
        for (int i = 0; i < N; i++) x[k].values[i] = fromFloat<T>(toFloat(x[k].values[i]) + toFloat(other[k].values[i]));
        if (Ring::at(k) < params.width && row < params.rows) {
          *reinterpret_cast<typename Ring::Vector*>(static_cast<T*>(params.sum) + row * params.width + Ring::at(k)) = x[k];
        }
      }
    }
    float squares = 0.0f;
#pragma unroll
    for (int k = 0; k < kCount; k++) {
#pragma unroll
      for (int i = 0; i < N; i++) squares = fmaf(toFloat(x[k].values[i]), toFloat(x[k].values[i]), squares);
    }
    const float inverse = inverseRms(rowSums<kOwners>({squares, 0.0f}, turn).first, params.width, params.epsilon);
#pragma unroll
    for (int k = 0; k < kCount; k++) {
      if (Ring::at(k) >= params.width || row >= params.rows) continue;
      float y[N];
      loadElements(static_cast<const W*>(params.weight) + Ring::at(k), y);
#pragma unroll
      for (int i = 0; i < N; i++) y[i] *= toFloat(x[k].values[i]) * inverse;
      storeElements(static_cast<T*>(params.y) + row * params.width + Ring::at(k), y);
    }
  }
}

/** A row of any width, by a whole thread block. */
template <typename T, typename W, bool kAdds>
PHSA_DEVICE void rmsNormAny(const RmsNormParams& params) {
  const int64_t start = static_cast<int64_t>(blockIdx.x) * params.width;
  const T* x = static_cast<const T*>(params.x) + start;
  if constexpr (kAdds) {
    // Each thread reads below what it writes here.
    const T* other = static_cast<const T*>(params.other) + start;
    T* sum = static_cast<T*>(params.sum) + start;
    for (int at = threadIdx.x; at < params.width; at += kRowThreads) sum[at] = fromFloat<T>(toFloat(x[at]) + toFloat(other[at]));
    x = sum;
  }
  float squares = 0.0f;
  for (int at = threadIdx.x; at < params.width; at += kRowThreads) squares = fmaf(toFloat(x[at]), toFloat(x[at]), squares);
  const float inverse = inverseRms(rowSums<kRowWarps>({squares, 0.0f}, 0).first, params.width, params.epsilon);
  for (int at = threadIdx.x; at < params.width; at += kRowThreads) {
    const float weight = toFloat(static_cast<const W*>(params.weight)[at]);
    static_cast<T*>(params.y)[start + at] = fromFloat<T>(toFloat(x[at]) * inverse * weight);
  }
}

/** What a row's sums say: squares of x, and products of x with dy times the weight. */
struct RowGradient {
  float inverse;
  float shift;

  PHSA_DEVICE RowGradient(Sums sums, int width, float epsilon)
      : inverse(inverseRms(sums.first, width, epsilon)), shift(inverse * inverse * sums.second / width) {}

  PHSA_DEVICE float of(float x, float weighted) const { return inverse * (weighted - x * shift); }
};

template <typename T, typename W, int kOwners, int kCount, int kStages>
PHSA_DEVICE void rmsNormBackward(const RmsNormBackwardParams& params) {
  using Ring = RowRing<T, kOwners, kCount, 2, kStages>;
  constexpr int N = Ring::N;
  constexpr int kGroups = kRowWarps / kOwners;
  PHSA_DYNAMIC_SHARED(memory);
  const Ring ring = {reinterpret_cast<typename Ring::Vector*>(memory)};
  const int group = warpIndex() / kOwners;
  const int64_t stride = static_cast<int64_t>(gridDim.x) * kGroups;
  const int64_t begin = static_cast<int64_t>(blockIdx.x) * kGroups;
  const auto load = [&](int stage, int64_t row) {
    if (row < params.rows) {
      ring.begin(stage, 0, params.x, row, params.width);
      ring.begin(stage, 1, params.dy, row, params.width);
    }
    endCopies();
  };
  for (int stage = 0; stage < kStages - 1; stage++) load(stage, begin + group + stage * stride);
  float sums[kCount][N] = {};
  int turn = 0;
  for (int64_t first = begin; first < params.rows; first += stride, turn++) {
    const int64_t row = first + group;
    load((turn + kStages - 1) % kStages, row + (kStages - 1) * stride);
    waitForCopies<kStages - 1>();
    typename Ring::Vector x[kCount] = {};
    typename Ring::Vector dy[kCount] = {};
    if (row < params.rows) {
      ring.read(turn % kStages, 0, params.width, x);
      ring.read(turn % kStages, 1, params.width, dy);
    }
    Sums own = {0.0f, 0.0f};
#pragma unroll
    for (int k = 0; k < kCount; k++) {
      if (Ring::at(k) >= params.width) continue;
      float weight[N];
      loadElements(static_cast<const W*>(params.weight) + Ring::at(k), weight);
#pragma unroll
      for (int i = 0; i < N; i++) {
        const float value = toFloat(x[k].values[i]);
        own.first = fmaf(value, value, own.first);
        own.second = fmaf(value, toFloat(dy[k].values[i]) * weight[i], own.second);
      }
    }
    const RowGradient gradient(rowSums<kOwners>(own, turn), params.width, params.epsilon);
#pragma unroll
    for (int k = 0; k < kCount; k++) {
      if (Ring::at(k) >= params.width || row >= params.rows) continue;
      float dx[N];
      loadElements(static_cast<const W*>(params.weight) + Ring::at(k), dx);
#pragma unroll
      for (int i = 0; i < N; i++) {
        const float value = toFloat(x[k].values[i]);
        const float change = toFloat(dy[k].values[i]);
        sums[k][i] = fmaf(change, value * gradient.inverse, sums[k][i]);
        dx[i] = gradient.of(value, change * dx[i]);
      }
      storeElements(static_cast<T*>(params.dx) + row * params.width + Ring::at(k), dx);
    }
  }

  // Where the ring was; neighbouring lanes lie side by side.
  constexpr int kLanesOfRow = kOwners * kLanes;
  constexpr int kWidth = kLanesOfRow * N * kCount;
  float* total = reinterpret_cast<float*>(memory);
  waitForCopies<0>();
  __syncthreads();
#pragma unroll
  for (int k = 0; k < kCount; k++) {
#pragma unroll
    for (int i = 0; i < N; i++) total[group * kWidth + (k * N + i) * kLanesOfRow + threadIdx.x % kLanesOfRow] = sums[k][i];
  }
  __syncthreads();
  float* partial = params.partials + static_cast<int64_t>(blockIdx.x) * params.width;
  for (int index = threadIdx.x; index < kWidth; index += kRowThreads) {
    const int vector = index / (kLanesOfRow * N) * kLanesOfRow + index % kLanesOfRow;
    const int column = vector * N + index / kLanesOfRow % N;
    float sum = 0.0f;
#pragma unroll
    for (int other = 0; other < kGroups; other++) sum += total[other * kWidth + index];
    if (column < params.width) partial[column] = sum;
  }
}

/** Rows of any width, each by a whole thread block; a thread sums the same columns in each row. */
template <typename T, typename W>
PHSA_DEVICE void rmsNormBackwardAny(const RmsNormBackwardParams& params) {
  float* partial = params.partials + static_cast<int64_t>(blockIdx.x) * params.width;
  for (int at = threadIdx.x; at < params.width; at += kRowThreads) partial[at] = 0.0f;
  int turn = 0;
  for (int64_t row = blockIdx.x; row < params.rows; row += gridDim.x) {
    const T* x = static_cast<const T*>(params.x) + row * params.width;
    const T* dy = static_cast<const T*>(params.dy) + row * params.width;
    const W* weight = static_cast<const W*>(params.weight);
    Sums own = {0.0f, 0.0f};
    for (int at = threadIdx.x; at < params.width; at += kRowThreads) {
      const float value = toFloat(x[at]);
      own.first = fmaf(value, value, own.first);
      own.second = fmaf(value, toFloat(dy[at]) * toFloat(weight[at]), own.second);
    }
    const RowGradient gradient(rowSums<kRowWarps>(own, turn++), params.width, params.epsilon);
    for (int at = threadIdx.x; at < params.width; at += kRowThreads) {
      const float value = toFloat(x[at]);
      const float change = toFloat(dy[at]);
      partial[at] = fmaf(change, value * gradient.inverse, partial[at]);
      static_cast<T*>(params.dx)[row * params.width + at] = fromFloat<T>(gradient.of(value, change * toFloat(weight[at])));
    }
  }
}

// A row of up to 128 vectors a warp; OWNERS, HELD_VECTORS and STAGES of rms-norm.ts.
#define OWNED(SUFFIX, T, W, OWNERS)                                                                                \
  PHSA_KERNEL(rms_norm_##SUFFIX##_w##OWNERS, RmsNormParams, kRowThreads, rmsNorm<T, W, OWNERS, 4, 2, false>)        \
  PHSA_KERNEL(add_rms_norm_##SUFFIX##_w##OWNERS, RmsNormParams, kRowThreads, rmsNorm<T, W, OWNERS, 4, 2, true>)      \
  PHSA_KERNEL(rms_norm_backward_##SUFFIX##_w##OWNERS, RmsNormBackwardParams, kRowThreads, rmsNormBackward<T, W, OWNERS, 4, 2>)
#define INSTANCE(SUFFIX, T, W)                                                                                     \
  OWNED(SUFFIX, T, W, 1) OWNED(SUFFIX, T, W, 2) OWNED(SUFFIX, T, W, 4) OWNED(SUFFIX, T, W, 8)                      \
  PHSA_KERNEL(rms_norm_##SUFFIX##_any, RmsNormParams, kRowThreads, rmsNormAny<T, W, false>)                        \
  PHSA_KERNEL(add_rms_norm_##SUFFIX##_any, RmsNormParams, kRowThreads, rmsNormAny<T, W, true>)                      \
  PHSA_KERNEL(rms_norm_backward_##SUFFIX##_any, RmsNormBackwardParams, kRowThreads, rmsNormBackwardAny<T, W>)
INSTANCE(f32_f32, float, float)
INSTANCE(bf16_bf16, bf16, bf16)
INSTANCE(bf16_f32, bf16, float)
