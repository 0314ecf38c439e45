// attend_sm90.cu: attention over forced and selected blocks (spec 5) on Hopper's tensor cores, packed or paged, bf16, D 128, m 16, 32 and 64.
//
// A tile is 128 rows: 128 / G neighbouring queries of one sequence with the G heads of a KV head. It works through the union of the keys that its
// queries see, 128 at a time: what all of them see (first tokens, the common part of their windows) as ranges, everything else from the lists of
// attend_lists_sm90.cu. One warpgroup loads (attend_loader.cuh), two compute 64 rows each and pass over keys that none of their queries sees. While
// the values of one step are multiplied, the next step's scores turn into probabilities. Tiles are handed out by a counter. What the lists left out
// is added at the end of a tile (attend_merge.cuh).
// Numerics: scores, sums and outputs in f32, probabilities rounded to bf16; the softmax's reference is raised only where it must be, so that
// probabilities may reach 2^16 (attend_softmax.cuh). Bound: reading the union from L2 once a tile, 1.4 ns of an H200 a unit of 16 keys, 5.9 TB/s;
// then the products, 4 D a key of the union and row.
#include "attend_merge.cuh"

constexpr int kConsumers = 2;
constexpr int kAttendThreads = 128 * (1 + kConsumers);

/** Word i of lane l becomes word l of lane i, for each four lanes. */
PHSA_DEVICE void transposeQuad(uint32_t (&words)[4], int lane) {
#pragma unroll
  for (int step = 1; step < 4; step *= 2) {
    const bool high = lane & step;
#pragma unroll
    for (int pair = 0; pair < 2; pair++) {
      const int i = step == 1 ? 2 * pair : pair;
      const uint32_t other = __shfl_xor_sync(~0u, high ? words[i] : words[i + step], step);
      if (high) {
        words[i] = other;
      } else {
        words[i + step] = other;
      }
    }
  }
}

/**
 * In steps that both warpgroups work on they issue their products by turns, so that those of one run while the other makes probabilities.
 * Each takes and ends one turn a step.
 */
PHSA_DEVICE void takeTurn(int group) { syncThreads(2 + group, 256); }
PHSA_DEVICE void endTurn(int group) { asm volatile("bar.arrive %0, 256;\n" ::"r"(3 - group) : "memory"); }

template <int G>
PHSA_DEVICE void computeTiles(const AttendTilesParams& params, AttendShared& shared, uint32_t queryBytes, uint32_t keyBytes, uint32_t valueBytes) {
  const int thread = threadIdx.x & 127;
  const int lane = thread & 31;
  const int group = (threadIdx.x >> 7) - 1;
  Consumer<G> consumer{shared, params.rules.scale * kLog2e, group, (thread >> 5) * 16 + (lane >> 2)};
  const uint32_t queries = queryBytes + group * (kQueryBytes / 2);
  if (group == 1) endTurn(group);
  Ring ring;
  int queryPhase = 0;
  while (true) {
    waitForPhase(sharedAddress(&shared.queryFull), queryPhase);
    fenceAsyncProxy();
    consumer.startItem(queryPhase);
    queryPhase ^= 1;
    const int steps = consumer.steps;
    if (steps < 0) break;

    float sums[64];
#pragma unroll
    for (int e = 0; e < 64; e++) sums[e] = 0.0f;
    float scores[64];
    uint32_t probabilities[8][4];
    float keep[2];
    int step = 0;
    bool queriesFree = false;
    // Opens the step of the ring, or passes it over.
    const auto needed = [&] {
      waitForPhase(sharedAddress(&shared.keysFull[ring.stage]), ring.phase);
      if (consumer.openStep(step, ring.stage)) return true;
      if (!consumer.stepIsList) {
        takeTurn(group);
        endTurn(group);
      }
      waitForPhase(sharedAddress(&shared.valuesFull[ring.stage]), ring.phase);
      __syncwarp();
      arrive(sharedAddress(&shared.keysEmpty[ring.stage]));
      arrive(sharedAddress(&shared.valuesEmpty[ring.stage]));
      ring.step();
      step++;
      return false;
    };
    while (true) {
      bool found = false;
      while (step < steps && !found) found = needed();
      if (!found) break;
      fenceAsyncProxy();
      if (!consumer.stepIsList) takeTurn(group);
      wgmmaFence();
      multiplyKeys(scores, queries, keyBytes + ring.stage * kStepBytes);
      if (!consumer.stepIsList) endTurn(group);
      wgmmaWait<0>();
      settle(scores);
      consumer.mask(scores, ring.stage);
      __syncwarp();
      arrive(sharedAddress(&shared.keysEmpty[ring.stage]));
      consumer.softenFirst(scores, keep);
#pragma unroll
      for (int e = 0; e < 64; e++) sums[e] *= keep[e >> 1 & 1];
      packProbabilities(probabilities, scores);
      Ring pending = ring;
      int pendingStep = step;
      ring.step();
      step++;
      while (true) {
        // The values that are still to be multiplied keep their stage: no further than that one.
        found = false;
        while (step < steps && step < pendingStep + kStages && !found) found = needed();
        if (!found) break;
        waitForPhase(sharedAddress(&shared.valuesFull[pending.stage]), pending.phase);
        fenceAsyncProxy();
        if (!consumer.stepIsList) takeTurn(group);
        wgmmaFence();
        multiplyKeys(scores, queries, keyBytes + ring.stage * kStepBytes);
        multiplyValues(sums, probabilities, valueBytes + pending.stage * kStepBytes);
        if (!consumer.stepIsList) endTurn(group);
        wgmmaWait<1>();
        settle(scores);
        consumer.mask(scores, ring.stage);
        const bool rescale = consumer.softenNext(scores, keep, ring.stage, queries, keyBytes + ring.stage * kStepBytes);
        __syncwarp();
        arrive(sharedAddress(&shared.keysEmpty[ring.stage]));
        wgmmaWait<0>();
        settle(sums);
        arrive(sharedAddress(&shared.valuesEmpty[pending.stage]));
        if (rescale) {
#pragma unroll
          for (int e = 0; e < 64; e++) sums[e] *= keep[e >> 1 & 1];
        }
        packProbabilities(probabilities, scores);
        pending = ring;
        pendingStep = step;
        ring.step();
        step++;
      }
      if (step == steps && !queriesFree) {
        queriesFree = true;
        arrive(sharedAddress(&shared.queryEmpty));
      }
      waitForPhase(sharedAddress(&shared.valuesFull[pending.stage]), pending.phase);
      fenceAsyncProxy();
      wgmmaFence();
      multiplyValues(sums, probabilities, valueBytes + pending.stage * kStepBytes);
      wgmmaWait<0>();
      settle(sums);
      arrive(sharedAddress(&shared.valuesEmpty[pending.stage]));
    }
    __syncwarp();
    if (!queriesFree) arrive(sharedAddress(&shared.queryEmpty));

#pragma unroll
    for (int half = 0; half < 2; half++) {
      consumer.total[half] += __shfl_xor_sync(~0u, consumer.total[half], 1);
      consumer.total[half] += __shfl_xor_sync(~0u, consumer.total[half], 2);
    }
    joinLeft(params, consumer, sums, consumer.total, consumer.top);
#pragma unroll
    for (int half = 0; half < 2; half++) {
      const float total = consumer.total[half];
      const int row = 64 * group + consumer.row + 8 * half;
      const bool valid = row / G < consumer.item->rows;
      const float share = total == 0.0f ? 0.0f : __frcp_rn(total);
      const int64_t target = static_cast<int64_t>(consumer.item->first + row / G) * params.rules.heads + consumer.item->kvHead * G + row % G;
      uint4* out = static_cast<uint4*>(params.out) + target * (kHeadDim / 8) + (lane & 3);
#pragma unroll
      for (int part = 0; part < 4; part++) {
        // Word i of lane l of a quad is l of chunk i; wanted is word i of chunk l.
        uint32_t words[4];
#pragma unroll
        for (int i = 0; i < 4; i++) {
          const int e = 4 * (4 * part + i) + 2 * half;
          words[i] = packBf16(sums[e] * share, sums[e + 1] * share);
        }
        transposeQuad(words, lane);
        if (valid) out[4 * part] = uint4{words[0], words[1], words[2], words[3]};
      }
      if (valid && (lane & 3) == 0) params.lse[target] = total == 0.0f ? -INFINITY : (consumer.top[half] + __log2f(total)) / kLog2e;
    }
  }
}

/** Registers of a thread that loads, and of one that computes: together what the launch has. */
constexpr int kLoadRegisters = 40;
constexpr int kComputeRegisters = 232;

template <int G>
PHSA_DEVICE void attendTiles(const AttendTilesParams& params) {
  extern __shared__ unsigned char attendShared[];
  const uint32_t start = sharedAddress(attendShared);
  const uint32_t queryBytes = (start + 1023) & ~1023u;
  const uint32_t keyBytes = queryBytes + kQueryBytes;
  const uint32_t valueBytes = keyBytes + kStages * kStepBytes;
  AttendShared& shared = *reinterpret_cast<AttendShared*>(attendShared + (valueBytes + kStages * kStepBytes - start));
  if (threadIdx.x == 0) {
    initBarrier(sharedAddress(&shared.queryFull), 129);
    initBarrier(sharedAddress(&shared.queryEmpty), 128 * kConsumers);
    for (int stage = 0; stage < kStages; stage++) {
      initBarrier(sharedAddress(&shared.keysFull[stage]), 128);
      initBarrier(sharedAddress(&shared.keysEmpty[stage]), 128 * kConsumers);
      initBarrier(sharedAddress(&shared.valuesFull[stage]), 128);
      initBarrier(sharedAddress(&shared.valuesEmpty[stage]), 128 * kConsumers);
    }
  }
  __syncthreads();
  if (threadIdx.x < 128) {
    shrinkRegisters<kLoadRegisters>();
    loadTiles<G>(params, shared, queryBytes, keyBytes, valueBytes);
  } else {
    growRegisters<kComputeRegisters>();
    computeTiles<G>(params, shared, queryBytes, keyBytes, valueBytes);
  }
}

#define INSTANCE(G)                                                                                                                          \
  extern "C" __global__ void __launch_bounds__(kAttendThreads, 1) attend_tiles_sm90_g##G(const __grid_constant__ AttendTilesParams params) { \
    attendTiles<G>(params);                                                                                                                  \
  }
INSTANCE(1)
INSTANCE(2)
INSTANCE(4)
INSTANCE(8)
INSTANCE(16)
