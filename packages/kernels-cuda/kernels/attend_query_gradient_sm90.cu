// attend_query_gradient_sm90.cu: gradient of q (spec 5): the part of first tokens, local window and dense queries, plus the given parts of the
// selected blocks. bf16, D 128, power-of-two groups. Deterministic: no atomics.
//
// A thread block stays on its multiprocessor and takes tiles of 128 rows (query, head of the group), 64 for each of two warpgroups, whose rows of Q
// are left operands in registers. A producer warpgroup copies the tile's keys and values ahead, 64 a step, and the next tile's rows meanwhile. A
// step is Q K^T and dO V^T, then dQ += ds K with ds in registers; the scores of the next step are queued before this step's last product is done.
// Meanwhile a fourth warpgroup sums the parts of the selected blocks and leaves them in dq, in bf16, for the two that add theirs.
// Numerics: ds in bf16 for its product, f32 sums; the selected blocks' sum is rounded to bf16 once more than the whole. Bound: tensor cores,
// 3 x 64 x 64 x 128 a step and warpgroup; with selected blocks, reading their parts.
#include "query_gradient_loader.cuh"
#include "query_gradient_parts.cuh"
#include "wgmma.cuh"

/** A 4 x 4 transpose between four neighbouring lanes: word i of lane l goes to lane i as word l. */
PHSA_DEVICE void exchange(float& w0, float& w1, float& w2, float& w3) {
  const bool odd = threadIdx.x & 1;
  const bool high = threadIdx.x & 2;
  const float a = __shfl_xor_sync(0xFFFFFFFF, odd ? w0 : w1, 1);
  const float b = __shfl_xor_sync(0xFFFFFFFF, odd ? w2 : w3, 1);
  (odd ? w0 : w1) = a;
  (odd ? w2 : w3) = b;
  const float c = __shfl_xor_sync(0xFFFFFFFF, high ? w0 : w2, 2);
  const float d = __shfl_xor_sync(0xFFFFFFFF, high ? w1 : w3, 2);
  (high ? w0 : w2) = c;
  (high ? w1 : w3) = d;
}

/** Adds what dq holds where `added`, and writes the sums of `row` and of the eighth row behind it. */
PHSA_DEVICE void finish(const QueryGradientSlabParams& params, const Tile& tile, float (&sums)[64], bool added, int row, int shift) {
  const int quad = threadIdx.x & 3;
  const float scale = params.rules.scale;
#pragma unroll
  for (int r = 0; r < 2; r++) {
    // Columns 32 i + 8 quad + 2 j + c to sums[4 (4 i + j) + 2 r + c].
#pragma unroll
    for (int i = 0; i < 4; i++) {
#pragma unroll
      for (int c = 0; c < 2; c++) {
        const int at = 16 * i + 2 * r + c;
        exchange(sums[at], sums[at + 4], sums[at + 8], sums[at + 12]);
      }
    }
    const int query = (row + 8 * r) >> shift;
    const int head = (row + 8 * r) & ((1 << shift) - 1);
    if (query >= tile.rows) continue;
    uint4* target = static_cast<uint4*>(params.dq) +
                    (static_cast<int64_t>(tile.firstRow + query) * params.rules.heads + (tile.kvHead << shift) + head) * 16 + quad;
    uint4 words[4];
#pragma unroll
    for (int i = 0; i < 4; i++) words[i] = added ? target[4 * i] : make_uint4(0, 0, 0, 0);
#pragma unroll
    for (int i = 0; i < 4; i++) {
      float row[8] = {};
      addWords(row, words[i]);
#pragma unroll
      for (int j = 0; j < 8; j++) row[j] = fmaf(sums[16 * i + 4 * (j / 2) + 2 * r + j % 2], scale, row[j]);
      target[4 * i] = make_uint4(packBf16(row[0], row[1]), packBf16(row[2], row[3]), packBf16(row[4], row[5]), packBf16(row[6], row[7]));
    }
  }
}

/** Queues the product of 64 rows with the keys, or values, of a stage. */
PHSA_DEVICE void queueProduct(float (&products)[32], const uint32_t (&rows)[8][4], uint32_t keysAt) {
  const uint32_t keys = alongK(keysAt);
  wgmmaFence();
#pragma unroll
  for (int k = 0; k < 8; k++) wgmma<0>(products, rows[k], operand(keys + (k / 4 * kKeys * 128 + k % 4 * 32) / 16), k > 0);
  wgmmaCommit();
}

PHSA_DEVICE void queueProduct(float (&products)[32], uint32_t rowsAt, uint32_t keysAt) {
  const uint32_t rows = alongK(rowsAt);
  const uint32_t keys = alongK(keysAt);
  wgmmaFence();
#pragma unroll
  for (int k = 0; k < 8; k++) {
    wgmma(products, operand(rows + (k / 4 * kRows * 128 + k % 4 * 32) / 16), operand(keys + (k / 4 * kKeys * 128 + k % 4 * 32) / 16), k > 0);
  }
  wgmmaCommit();
}

PHSA_DEVICE void consume(const QueryGradientSlabParams& params, const unsigned char* bytes, uint32_t shared, int shift) {
  const Rules& rules = params.rules;
  const int group = uniform(threadIdx.x / 128) - 2;
  const int lane = threadIdx.x & 31;
  const int quad = lane & 3;
  const int warpRow = group * kRowsPerGroup + (threadIdx.x / 32 & 3) * 16;
  const int row = warpRow + lane / 4;
  const int queries = kRows >> shift;
  const int items = tileCount(params, queries) * params.kvHeads;
  const float scale = rules.scale * kLog2E;
  int turn = 0;
  int tiles = 0;
  for (int item = blockIdx.x; item < items; item += gridDim.x) {
    const Tile tile = tileOf(params, item, queries);
    if (tile.rows == 0) continue;
    float sums[64];
#pragma unroll
    for (int i = 0; i < 64; i++) sums[i] = 0.0f;
    if (tile.steps > 0) {
      int positions[2];
      int starts[2];
      float lse[2];
      float delta[2];
#pragma unroll
      for (int r = 0; r < 2; r++) {
        const int query = (row + 8 * r) >> shift;
        positions[r] = tile.position + query;
        starts[r] = windowStartOf(rules, positions[r], rules.denseBelow);
      }
      const int initEnd = rules.initBlocks * rules.blockSize;
      const int groupFirst = tile.position + (group * kRowsPerGroup >> shift);
      const int groupLast = min(tile.end, groupFirst + max(1, kRowsPerGroup >> shift)) - 1;
      const int groupStart = windowStartOf(rules, groupFirst, rules.denseBelow);
      const int groupLastStart = windowStartOf(rules, max(groupFirst, groupLast), rules.denseBelow);

      uint32_t query[8][4];
      waitForPhase(shared + kRowsFullAt, tiles & 1);
      const uint32_t dOutsAt = shared + kDOutsAt + uniform(tiles & 1) * kRowBytes + group * kRowsPerGroup * 128;
      tiles++;
      const float* logs = reinterpret_cast<const float*>(bytes + kLogsAt) + row;
#pragma unroll
      for (int r = 0; r < 2; r++) {
        lse[r] = logs[8 * r] * -kLog2E;
        delta[r] = logs[kRows + 8 * r];
      }
#pragma unroll
      for (int k = 0; k < 8; k++) {
        const uint32_t at = shared + operandOffset(warpRow + (lane & 15), 2 * k + (lane >> 4), kRows);
        loadMatrix(query[k], at);
      }
      arrive(shared + kRowsEmptyAt);

      // The next step, from `step` on, that this warpgroup's rows see, or the last one; the others are given back.
      const auto nextStep = [&](int step) {
        while (step < tile.steps - 1) {
          const bool seen = tile.firstKey(step) <= groupLast && (step < tile.initSteps || tile.endKey(step) > groupStart || tile.firstKey(step) < initEnd);
          const uint32_t barriers = shared + kBarriersAt + (turn + step) % kStages * 16;
          waitForPhase(barriers, (turn + step) / kStages & 1);
          if (seen) break;
          arrive(barriers + 8);
          step++;
        }
        if (step == tile.steps - 1) waitForPhase(shared + kBarriersAt + (turn + step) % kStages * 16, (turn + step) / kStages & 1);
        return uniform(step);
      };

      float scores[32];
      float dProbabilities[32];
      int step = nextStep(0);
      queueProduct(scores, query, shared + kStagesAt + (turn + step) % kStages * 2 * kKeyBytes);
      for (;;) {
        const uint32_t keysAt = shared + kStagesAt + (turn + step) % kStages * 2 * kKeyBytes;
        const uint32_t barriers = shared + kBarriersAt + (turn + step) % kStages * 16;
        const int firstKey = tile.firstKey(step);
        const int endKey = tile.endKey(step);
        queueProduct(dProbabilities, dOutsAt, keysAt + kKeyBytes);
        wgmmaWait<1>();
        settle(scores);
#pragma unroll
        for (int j = 0; j < 8; j++) {
#pragma unroll
          for (int r = 0; r < 2; r++) {
            scores[4 * j + 2 * r] = exp2Fast(fmaf(scores[4 * j + 2 * r], scale, lse[r]));
            scores[4 * j + 2 * r + 1] = exp2Fast(fmaf(scores[4 * j + 2 * r + 1], scale, lse[r]));
          }
        }
        if (endKey > groupFirst + 1 || !(endKey <= initEnd || firstKey >= groupLastStart)) {
#pragma unroll
          for (int j = 0; j < 8; j++) {
#pragma unroll
            for (int c = 0; c < 2; c++) {
              const int key = firstKey + 8 * j + 2 * quad + c;
#pragma unroll
              for (int r = 0; r < 2; r++) {
                if (key > positions[r] || (key < starts[r] && key >= initEnd)) scores[4 * j + 2 * r + c] = 0.0f;
              }
            }
          }
        }
        wgmmaWait<0>();
        settle(dProbabilities);
        uint32_t dScores[4][4];
#pragma unroll
        for (int j = 0; j < 8; j++) {
#pragma unroll
          for (int r = 0; r < 2; r++) {
            const int at = 4 * j + 2 * r;
            dScores[j / 2][j % 2 * 2 + r] = packBf16(scores[at] * (dProbabilities[at] - delta[r]), scores[at + 1] * (dProbabilities[at + 1] - delta[r]));
          }
        }
        wgmmaFence();
#pragma unroll
        for (int k = 0; k < 4; k++) wgmma<1>(sums, dScores[k], operand(acrossK(keysAt, kKeys) + 128 * k), 1);
        wgmmaCommit();
        step = nextStep(step + 1);
        if (step == tile.steps) break;
        queueProduct(scores, query, shared + kStagesAt + (turn + step) % kStages * 2 * kKeyBytes);
        wgmmaWait<1>();
        settle(sums);
        arrive(barriers + 8);
      }
      wgmmaWait<0>();
      settle(sums);
      arrive(shared + kBarriersAt + (turn + tile.steps - 1) % kStages * 16 + 8);
      turn += tile.steps;
      arrive(shared + kDOutsEmptyAt);
      if (params.dqPartials) {
        waitForPhase(shared + kAddedAt, (tiles - 1) & 1);
        arrive(shared + kTakenAt);
      }
    }
    finish(params, tile, sums, params.dqPartials && tile.steps > 0, row, shift);
  }
}

/** With so many parts of so many rows read at once (below 16: for topK up to 16), and registers of the warpgroup that adds them and of each that computes. */
template <int Slots, int Rows, int AddRegisters, int ComputeRegisters>
PHSA_DEVICE void attendQueryGradient(const QueryGradientSlabParams& params) {
  PHSA_DYNAMIC_SHARED(dynamic);
  const uint32_t at = sharedAddress(dynamic);
  const uint32_t shared = (at + 1023) & ~1023u;
  unsigned char* bytes = dynamic + (shared - at);
  const int shift = 31 - __clz(params.rules.heads / params.rules.kvHeads);
  if (threadIdx.x == 0) {
    for (int stage = 0; stage < kStages; stage++) {
      initBarrier(shared + kBarriersAt + stage * 16, kProducers);
      initBarrier(shared + kBarriersAt + stage * 16 + 8, kConsumers);
    }
    initBarrier(shared + kRowsFullAt, kProducers);
    initBarrier(shared + kRowsEmptyAt, kConsumers);
    initBarrier(shared + kDOutsEmptyAt, kConsumers);
    initBarrier(shared + kAddedAt, kAdders);
    initBarrier(shared + kTakenAt, kConsumers);
  }
  __syncthreads();
  if (threadIdx.x < kProducers) {
    shrinkRegisters<24>();
    produce(params, shared, shift);
  } else if (threadIdx.x < kProducers + kAdders) {
    shrinkRegisters<AddRegisters>();
    add<Slots, Rows>(params, bytes, shared, shift);
  } else {
    growRegisters<ComputeRegisters>();
    consume(params, bytes, shared, shift);
  }
}

extern "C" __global__ void __launch_bounds__(kThreads, 1) attend_query_gradient_sm90(const __grid_constant__ QueryGradientSlabParams params) {
  attendQueryGradient<8, 1, 72, 208>(params);
}

/** For topK above 16, where adding the parts takes longer than the products. */
extern "C" __global__ void __launch_bounds__(kThreads, 1) attend_query_gradient_many_sm90(const __grid_constant__ QueryGradientSlabParams params) {
  attendQueryGradient<16, 1, 96, 192>(params);
}

/** For topK up to 2, where one row's parts leave the adding warpgroup waiting for memory. */
extern "C" __global__ void __launch_bounds__(kThreads, 1) attend_query_gradient_few_sm90(const __grid_constant__ QueryGradientSlabParams params) {
  attendQueryGradient<2, 4, 72, 208>(params);
}
