// heads_rope.cu: RMS norm of the heads of a few tokens' queries and keys and their rotary positions, in place, by one launch.
//
// A warp owns a head's row: a lane has elements D / 2 apart. Bound: latency. Numerics: f32, one rounding on store; angles come as a table.
#include "elements.cuh"
#include "overlap.cuh"
#include "row_groups.cuh"

struct HeadsRopeParams {
  void* q;               // [T, heads, D]
  void* k;               // [T, kvHeads, D]
  const void* qNorm;     // [D]
  const void* kNorm;     // [D]
  const int* positions;  // [T]
  const float* cos;      // [P, D / 2]
  const float* sin;      // [P, D / 2]
  int tokens;            // T
  int heads;
  int kvHeads;
  int headDim;           // D
  float epsilon;
};

/** Pairs of a lane at most: head dimensions up to 128. */
constexpr int kLanePairs = 2;

template <typename T>
PHSA_DEVICE void headsRope(const HeadsRopeParams& params) {
  const int all = params.heads + params.kvHeads;
  const int row = blockIdx.x * kRowWarps + warpIndex();
  const bool isRow = row < params.tokens * all;
  const int token = isRow ? row / all : 0;
  const int head = row % all;
  const bool isQuery = head < params.heads;
  const int half = params.headDim / 2;
  const T* norm = static_cast<const T*>(isQuery ? params.qNorm : params.kNorm);
  float weights[kLanePairs][2] = {};
  float cosines[kLanePairs] = {};
  float sines[kLanePairs] = {};
  const int64_t angles = static_cast<int64_t>(params.positions[token]) * half;
#pragma unroll
  for (int i = 0; i < kLanePairs; i++) {
    const int at = laneIndex() + i * kLanes;
    if (at >= half) continue;
    weights[i][0] = toFloat(norm[at]);
    weights[i][1] = toFloat(norm[at + half]);
    cosines[i] = params.cos[angles + at];
    sines[i] = params.sin[angles + at];
  }
  waitForKernelBefore();
  letNextKernelBegin();
  if (!isRow) return;
  T* x = isQuery ? static_cast<T*>(params.q) + (static_cast<int64_t>(token) * params.heads + head) * params.headDim
                 : static_cast<T*>(params.k) + (static_cast<int64_t>(token) * params.kvHeads + head - params.heads) * params.headDim;
  float pairs[kLanePairs][2] = {};
  float squares = 0.0f;
#pragma unroll
  for (int i = 0; i < kLanePairs; i++) {
    const int at = laneIndex() + i * kLanes;
    if (at >= half) continue;
    pairs[i][0] = toFloat(x[at]);
    pairs[i][1] = toFloat(x[at + half]);
    squares = fmaf(pairs[i][0], pairs[i][0], fmaf(pairs[i][1], pairs[i][1], squares));
  }
  const float inverse = inverseRms(warpSum(squares), params.headDim, params.epsilon);
#pragma unroll
  for (int i = 0; i < kLanePairs; i++) {
    const int at = laneIndex() + i * kLanes;
    if (at >= half) continue;
    const float first = pairs[i][0] * inverse * weights[i][0];
    const float second = pairs[i][1] * inverse * weights[i][1];
    x[at] = fromFloat<T>(first * cosines[i] - second * sines[i]);
    x[at + half] = fromFloat<T>(second * cosines[i] + first * sines[i]);
  }
}

PHSA_KERNEL(heads_rope_bf16, HeadsRopeParams, kRowThreads, headsRope<bf16>)
