// sample_parts.cu: the passes over whole rows of logits that many thread blocks share: the largest logit, then how many logits lie in each bin of distance from it.
//
// A thread block owns a part of a row. Counts are integers, so that it does not matter who adds first. Bound: bytes of the logits and instructions, some 20 a logit.
#include "sample_bins.cuh"

constexpr int kPartThreads = 512;

/** A part's largest logit (NaN counts as -infinity), and its lowest id where the row's likeliest token is all that counts. */
template <typename T, int N>
PHSA_DEVICE void findLargest(const SampleParams& params) {
  __shared__ float largests[kLanes];
  __shared__ int likeliest;
  const int64_t row = blockIdx.y;
  const int64_t own = row * params.parts + blockIdx.x;
  const T* logits = static_cast<const T*>(params.logits) + row * params.vocabulary;
  const int start = min(static_cast<int>(blockIdx.x) * params.partLogits, params.vocabulary);
  const int end = min(start + params.partLogits, params.vocabulary);
  for (int bin = blockIdx.x * kPartThreads + threadIdx.x; bin < kHeadBins; bin += params.parts * kPartThreads) {
    params.counts[row * kHeadBins + bin] = params.excesses[row * kHeadBins + bin] = 0;
  }
  float largest = -INFINITY;
  forEachLogit<kPartThreads, N>(logits, start, end, [&](int, float value) { largest = fmaxf(largest, value); });
  largest = warpMax(largest);
  if (laneIndex() == 0) largests[warpIndex()] = largest;
  if (threadIdx.x == 0) likeliest = params.vocabulary;
  __syncthreads();
  largest = warpMax(laneIndex() < kPartThreads / kLanes ? largests[laneIndex()] : -INFINITY);
  if (threadIdx.x == 0) params.largest[own] = largest;
  if (params.control[row * 5] > 0.0f && largest - largest == 0.0f) return;
  int lowest = params.vocabulary;
  forEachLogit<kPartThreads, N>(logits, start, end, [&](int id, float value) {
    // Where the largest is -infinity all are, or NaN.
    if (value == largest || largest == -INFINITY) lowest = min(lowest, id);
  });
  if (lowest < params.vocabulary) atomicMin(&likeliest, lowest);
  __syncthreads();
  if (threadIdx.x == 0) params.likeliest[own] = likeliest;
}

/** Adds a part's logits to the row's bins; what lies beyond them, but has a mass, is added up. */
template <typename T, int N>
PHSA_DEVICE void countParts(const SampleParams& params) {
  __shared__ uint32_t counts[kHeadBins];
  __shared__ uint32_t excesses[kHeadBins];
  __shared__ double sums[kPartThreads / kLanes];
  const int64_t row = blockIdx.y;
  const Draw draw(params, row);
  if (!draw.hasShares()) return;
  const T* logits = static_cast<const T*>(params.logits) + row * params.vocabulary;
  const int start = min(static_cast<int>(blockIdx.x) * params.partLogits, params.vocabulary);
  const int end = min(start + params.partLogits, params.vocabulary);
  for (int bin = threadIdx.x; bin < kHeadBins; bin += kPartThreads) counts[bin] = excesses[bin] = 0;
  __syncthreads();
  BinCounter counter(counts, excesses, params.excessScale);
  const bool wantsRest = draw.wantsRest();
  float rest = 0.0f;
  forEachLogit<kPartThreads, N>(logits, start, end, [&](int, float value) {
    const float distance = draw.distance(value);
    if (distance < kHead) {
      counter.add(distance);
    } else if (wantsRest && distance < kRange) {
      rest += expf(-distance);
    }
  });
  counter.flush();
  __syncthreads();
  for (int bin = threadIdx.x; bin < kHeadBins; bin += kPartThreads) {
    if (counts[bin] == 0) continue;
    atomicAdd(&params.counts[row * kHeadBins + bin], counts[bin]);
    atomicAdd(&params.excesses[row * kHeadBins + bin], excesses[bin]);
  }
  const Totals total = warpPrefix({0, rest});
  if (laneIndex() == kLanes - 1) sums[warpIndex()] = total.mass;
  __syncthreads();
  if (threadIdx.x != 0) return;
  double sum = 0.0;
  for (int warp = 0; warp < kPartThreads / kLanes; warp++) sum += sums[warp];
  params.rests[row * params.parts + blockIdx.x] = sum;
}

#define INSTANCE(SUFFIX, T)                                                                          \
  PHSA_KERNEL(sample_largest_##SUFFIX##_vector, SampleParams, kPartThreads, findLargest<T, kVector<T>>) \
  PHSA_KERNEL(sample_largest_##SUFFIX##_any, SampleParams, kPartThreads, findLargest<T, 1>)             \
  PHSA_KERNEL(sample_bins_##SUFFIX##_vector, SampleParams, kPartThreads, countParts<T, kVector<T>>)     \
  PHSA_KERNEL(sample_bins_##SUFFIX##_any, SampleParams, kPartThreads, countParts<T, 1>)
INSTANCE(f32, float)
INSTANCE(bf16, bf16)
