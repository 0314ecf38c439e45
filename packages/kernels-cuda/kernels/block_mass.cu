// block_mass.cu: dense attention probability on each block, summed over the heads of the group, for listed query rows (spec 9, 10).
//
// A thread block owns one row of one KV head. First pass: log-sum-exp of each head over all keys. Second pass: the scores again; a warp takes
// max(32, m) keys at a time and sums the probabilities of each block over its lanes. Bound: reading k twice for each row, from L2.
// Numerics: f32, sums in a fixed order.
#include "group_scores.cuh"
#include "sequences.cuh"

struct BlockMassParams {
  const void* q;    // [Tq, Hq, D]
  const void* k;    // [Tk, Hkv, D]
  const int* rows;  // [n], -1 for none
  float* mass;      // [Hkv, n, maxBlocks], zero beforehand
  Sequences sequences;
  Rules rules;
  int count;  // n
  int maxBlocks;
};

template <typename T, int D>
PHSA_DEVICE void blockMass(const BlockMassParams& params) {
  __shared__ GroupShared<D> shared;
  const Sequences& sequences = params.sequences;
  const Rules& rules = params.rules;
  const int index = blockIdx.x;
  const int kvHead = blockIdx.y;
  const int group = rules.heads / rules.kvHeads;
  const int row = params.rows[index];
  const Query query = findQuery(sequences, rules, row);
  if (query.sequence < 0) return;
  loadGroup<T>(shared, params.q, static_cast<int64_t>(row) * rules.heads + kvHead * group, group);
  const int keys = query.position + 1;
  const T* ownKeys = static_cast<const T*>(params.k) + (keyRow(sequences, query.sequence, 0) * rules.kvHeads + kvHead) * D;
  const int64_t stride = static_cast<int64_t>(rules.kvHeads) * D;
  sumGroup(shared, group, keys, rules.scale, [=](int key) { return ownKeys + key * stride; });

  float* mass = params.mass + (static_cast<int64_t>(kvHead) * params.count + index) * params.maxBlocks;
  const int lane = laneIndex();
  const int tile = max(kLanes, rules.blockSize);
  for (int first = warpIndex() * tile; first < keys; first += kWarps * tile) {
    // A block of 64 is the sum of two halves; smaller ones lie side by side in the lanes.
    float sum = 0.0f;
    for (int half = 0; half < tile; half += kLanes) {
      const int key = first + half + lane;
      if (key >= keys) continue;
      for (int firstHead = 0; firstHead < group; firstHead += kHeads) {
        float scores[kHeads] = {};
        dotRows<D>(ownKeys + key * stride, shared.queries[firstHead], scores);
#pragma unroll
        for (int h = 0; h < kHeads; h++) {
          if (firstHead + h < group) sum += expf(shared.log(firstHead + h).share(scores[h], rules.scale));
        }
      }
    }
    __syncwarp();
    for (int offset = 1; offset < min(kLanes, rules.blockSize); offset *= 2) sum += __shfl_xor_sync(kWholeWarp, sum, offset);
    const int key = first + lane;
    if (key % rules.blockSize == 0 && key < keys) mass[key / rules.blockSize] = sum;
  }
}

#define INSTANCE(SUFFIX, T, D) PHSA_KERNEL(block_mass_##SUFFIX, BlockMassParams, kThreads, blockMass<T, D>)
PHSA_FOR_EACH_TYPE(INSTANCE)
