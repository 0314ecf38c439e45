// attend.cu: attention over forced and selected blocks (spec 5), packed and paged; dense is the same with a window beyond any length.
//
// A warp owns one query and H heads of one KV head. It walks the visible keys 32 at a time: a lane scores one key for all H heads (its row in 16-byte
// reads, q in shared memory), then the lanes take the D dimensions and add up the values. Four neighbouring queries share a thread block, and so
// most of the L1 lines of their windows.
// Numerics: scores, probabilities and sums in f32, online softmax, lse in natural log. Bound: f32 multiply-adds, 4 D a visible key and head.
#include "elements.cuh"
#include "sequences.cuh"
#include "warp.cuh"

struct AttendParams {
  const void* q;        // [Tq, Hq, D]
  const void* k;        // [Tk, Hkv, D], or pages [slots, Hkv, D]
  const void* v;
  const int* selected;  // [Hkv, Tq, topK]
  void* out;            // [Tq, Hq, D]
  float* lse;           // [Tq, Hq]
  Sequences sequences;
  Rules rules;
};

template <int D, int H>
struct alignas(16) AttendShared {
  float queries[H][D];
  float probabilities[kLanes][H];
  int64_t offsets[kLanes];  // of each key of the tile in k and v, -1 for none
};

template <typename T, int D, int H>
PHSA_DEVICE void attend(const AttendParams& params) {
  constexpr int kPerLane = D / kLanes;
  __shared__ AttendShared<D, H> sharedOfWarps[kWarps];
  AttendShared<D, H>& shared = sharedOfWarps[warpIndex()];
  const Sequences& sequences = params.sequences;
  const Rules& rules = params.rules;
  const int lane = laneIndex();
  const int group = rules.heads / rules.kvHeads;
  const int chunks = (group + H - 1) / H;
  const int kvHead = blockIdx.y / chunks;
  const int firstHead = blockIdx.y % chunks * H;
  const int heads = min(H, group - firstHead);
  const int row = blockIdx.x * kWarps + warpIndex();
  if (row >= sequences.queryTokens) return;
  const int64_t firstRow = static_cast<int64_t>(row) * rules.heads + kvHead * group + firstHead;
  const T* k = static_cast<const T*>(params.k);
  const T* v = static_cast<const T*>(params.v);

  const Query query = findQuery(sequences, rules, row);
  float sums[H][kPerLane] = {};
  float largest[H];
  float totals[H] = {};
#pragma unroll
  for (int h = 0; h < H; h++) largest[h] = -INFINITY;

  if (query.sequence >= 0) {
    for (int index = lane; index < H * D; index += kLanes) {
      shared.queries[index / D][index % D] = index / D < heads ? toFloat(static_cast<const T*>(params.q)[firstRow * D + index]) : 0.0f;
    }
    __syncwarp();
    const int64_t selectedRow = (static_cast<int64_t>(kvHead) * sequences.queryTokens + row) * rules.topK;
    const VisibleKeys keys = visibleKeys(rules, query, params.selected + selectedRow);
    for (int first = 0; first < keys.count; first += kLanes) {
      const int position = keys.at(first + lane);
      float scores[H] = {};
      if (position >= 0) {
        const int64_t offset = (keyRow(sequences, query.sequence, position) * rules.kvHeads + kvHead) * D;
        shared.offsets[lane] = offset;
        dotRows<D>(k + offset, shared.queries[0], scores);
      } else {
        shared.offsets[lane] = -1;
      }
#pragma unroll
      for (int h = 0; h < H; h++) {
        const float score = position >= 0 ? scores[h] * rules.scale : -INFINITY;
        const float both = fmaxf(largest[h], warpMax(score));
        const float probability = shiftedExp(score, both);
        const float keep = shiftedExp(largest[h], both);
        totals[h] = totals[h] * keep + warpSum(probability);
        largest[h] = both;
        shared.probabilities[lane][h] = probability;
#pragma unroll
        for (int i = 0; i < kPerLane; i++) sums[h][i] *= keep;
      }
      __syncwarp();
      const int count = min(kLanes, keys.count - first);
      for (int key = 0; key < count; key++) {
        const int64_t offset = shared.offsets[key];
        // Values of unseen keys may be NaN: a probability of 0 would not keep them out.
        if (offset < 0) continue;
        float value[kPerLane];
        loadElements(v + offset + lane * kPerLane, value);
#pragma unroll
        for (int h = 0; h < H; h++) {
          const float probability = shared.probabilities[key][h];
#pragma unroll
          for (int i = 0; i < kPerLane; i++) sums[h][i] = fmaf(probability, value[i], sums[h][i]);
        }
      }
      __syncwarp();
    }
  }

#pragma unroll
  for (int h = 0; h < H; h++) {
    if (h >= heads) continue;
    const float share = totals[h] > 0.0f ? 1.0f / totals[h] : 0.0f;
#pragma unroll
    for (int i = 0; i < kPerLane; i++) sums[h][i] *= share;
    storeElements(static_cast<T*>(params.out) + (firstRow + h) * D + lane * kPerLane, sums[h]);
    if (lane == 0) params.lse[firstRow + h] = largest[h] == -INFINITY ? -INFINITY : largest[h] + logf(totals[h]);
  }
}

#define INSTANCE(SUFFIX, T, D, H) PHSA_KERNEL(attend_##SUFFIX, AttendParams, kThreads, attend<T, D, H>)
PHSA_FOR_EACH_TYPE_AND_HEADS(INSTANCE)
