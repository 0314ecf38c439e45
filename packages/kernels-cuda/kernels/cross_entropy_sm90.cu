// cross_entropy_sm90.cu: cross_entropy.cu's gradients in bf16 where a cluster of thread blocks holds a row of logits in registers, so that it is read once
// and each exponential is computed once. Bound: bytes, 4 read and 2 written a logit. No atomics, every sum in a fixed order.
#include "cluster.cuh"
#include "cross_entropy_rows.cuh"
#include "warp.cuh"

constexpr int kClusterBlocks = 8;
constexpr int kClusterThreads = 512;
constexpr int kClusterWarps = kClusterThreads / kLanes;
/** Runs of eight logits that a thread holds: CLUSTER_LOGITS of cross-entropy.ts. */
constexpr int kRuns = 5;

/** Half of a barrier of the cluster that orders memory: what came before can be read behind `waitForCluster`. */
PHSA_DEVICE void arriveWithWrites() { asm volatile("barrier.cluster.arrive.release.aligned;\n" ::: "memory"); }

/** The sum of the block, in every thread. */
PHSA_DEVICE void mergeWarps(LogSum& total) {
  __shared__ float2 warps[kClusterWarps];
  total.mergeLanes();
  if (laneIndex() == 0) warps[warpIndex()] = make_float2(total.largest, total.sum);
  __syncthreads();
  const float2 other = laneIndex() < kClusterWarps ? warps[laneIndex()] : make_float2(-INFINITY, 0.0f);
  total.largest = other.x;
  total.sum = other.y;
  total.mergeLanes();
}

/** The sum of the cluster, in every thread; when it returns all threads have read their logits. */
PHSA_DEVICE void mergeCluster(LogSum& total) {
  __shared__ float2 blocks[kClusterBlocks];
  mergeWarps(total);
  // All thread blocks have begun: their shared memory is there.
  waitForCluster();
  if (threadIdx.x < kClusterBlocks) {
    asm volatile("st.shared::cluster.v2.f32 [%0], {%1, %2};\n" ::"r"(addressIn(threadIdx.x, &blocks[clusterRank()])), "f"(total.largest), "f"(total.sum)
                 : "memory");
  }
  arriveWithWrites();
  waitForCluster();
  const float2 other = laneIndex() < kClusterBlocks ? blocks[laneIndex()] : make_float2(-INFINITY, 0.0f);
  total.largest = other.x;
  total.sum = other.y;
  total.mergeLanes();
}

extern "C" __global__ void __cluster_dims__(kClusterBlocks, 1, 1) __launch_bounds__(kClusterThreads, 2)
    cross_entropy_gradient_sm90(const __grid_constant__ CrossEntropyParams params) {
  const int token = blockIdx.x / kClusterBlocks;
  float* row = params.logits + token * params.stride;
  bf16* gradient = reinterpret_cast<bf16*>(row);
  const float weight = params.weights[token];
  const int target = params.targets[token];
  const int vocabulary = params.vocabulary;
  const int64_t own = (clusterRank() * kClusterThreads + threadIdx.x) * kRun;
  constexpr int64_t kStep = kClusterBlocks * kClusterThreads * kRun;
  arriveAtCluster();
  if (weight == 0.0f) {
    // The logits are not looked at: they may be anything.
    const float zeros[kRun] = {};
#pragma unroll
    for (int i = 0; i < kRuns; i++) storeRun(gradient + own + i * kStep, zeros, vocabulary - (own + i * kStep));
    if (clusterRank() == 0 && threadIdx.x == 0) params.tokenLosses[token] = 0.0f;
    waitForCluster();
    return;
  }

  float values[kRuns][kRun];
#pragma unroll
  for (int i = 0; i < kRuns; i++) loadRun(row, own + i * kStep, vocabulary, values[i]);
  const float targetLogit = row[target];
  LogSum total;
#pragma unroll
  for (int i = 0; i < kRuns; i++) {
#pragma unroll
    for (int j = 0; j < kRun; j++) total.largest = fmaxf(total.largest, values[i][j]);
  }
  const float largest = total.largest;
#pragma unroll
  for (int i = 0; i < kRuns; i++) {
#pragma unroll
    for (int j = 0; j < kRun; j++) {
      values[i][j] = shiftedExp(values[i][j], largest);
      total.sum += values[i][j];
    }
  }
  mergeCluster(total);
  if (clusterRank() == 0 && threadIdx.x == 0) params.tokenLosses[token] = total.largest - targetLogit + logf(total.sum);
  const float factor = weight / total.sum * shiftedExp(largest, total.largest);
#pragma unroll
  for (int i = 0; i < kRuns; i++) {
    const int64_t first = own + i * kStep;
#pragma unroll
    for (int j = 0; j < kRun; j++) {
      values[i][j] *= factor;
      if (first + j == target) values[i][j] -= weight;
    }
    storeRun(gradient + first, values[i], vocabulary - first);
  }
}
