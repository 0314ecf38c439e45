// column_sums.cu: adds the sums over the rows of an f32 matrix to a vector: the second stage of the norm weights' gradients, in a fixed order.
//
// A thread block owns 32 columns, one a lane; its 32 warps take every 32nd row, and then a column each. Bound: latency; the matrix lies in the cache.
#include "elements.cuh"
#include "warp.cuh"

struct ColumnSumsParams {
  const float* partials;  // [rows, width]
  void* target;           // [width], added to
  int rows;
  int width;
};

constexpr int kColumnThreads = kLanes * kLanes;

template <typename T>
PHSA_DEVICE void addColumnSums(const ColumnSumsParams& params) {
  // A column more, so that lanes that read down it meet 32 banks.
  __shared__ float sums[kLanes][kLanes + 1];
  const int column = blockIdx.x * kLanes + laneIndex();
  float sum = 0.0f;
  if (column < params.width) {
#pragma unroll 8
    for (int row = warpIndex(); row < params.rows; row += kLanes) sum += params.partials[static_cast<int64_t>(row) * params.width + column];
  }
  sums[warpIndex()][laneIndex()] = sum;
  __syncthreads();
  const float total = warpSum(sums[laneIndex()][warpIndex()]);
  const int own = blockIdx.x * kLanes + warpIndex();
  if (laneIndex() != 0 || own >= params.width) return;
  T* target = static_cast<T*>(params.target) + own;
  *target = fromFloat<T>(toFloat(*target) + total);
}

PHSA_KERNEL(add_column_sums_f32, ColumnSumsParams, kColumnThreads, addColumnSums<float>)
PHSA_KERNEL(add_column_sums_bf16, ColumnSumsParams, kColumnThreads, addColumnSums<bf16>)
