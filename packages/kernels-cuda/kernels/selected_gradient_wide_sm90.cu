// selected_gradient_wide_sm90.cu: gradients of attention through selected blocks of 64 tokens, key-major (spec 5), with warpgroup products. bf16, D 128.
// Deterministic: sums have a fixed order.
//
// 64 keys are the rows of one wgmma. A thread block owns a key block of one KV head and walks the list of the queries that selected it
// (selected_lists_sm90.cu), 64 rows (choice, head of the group) a step, through four warpgroups: one copies, keys and values once, then the rows of q and
// dOut, gathered; one makes scores, S^T = K q^T and dP^T = V dOut^T, and leaves P^T and dS^T in shared memory; one keeps the sums of the whole list,
// dV += P^T dOut and dK += dS^T q; one makes the queries' part dS K, written in bf16 at (row, slot) for the kernel that sums dq.
// So nobody has more accumulators than registers, and those who write global memory have no fence to wait at.
// Long lists are walked in pieces, as selected_gradient_pieces_sm90.cu cuts and joins them.
// Numerics: P, dP - delta and dS, their product, are rounded to bf16; f32 sums. Bound: by count shared memory, 1,470 of 128 bytes a step for 1,280 cycles of
// products, and 768 bytes a query head and block through the L2 cache.
#include "selected_gradient_loader.cuh"

/** P^T and dS^T of every step. */
PHSA_DEVICE void makeScores(const SelectedGradientParams& params, const unsigned char* bytes, uint32_t shared) {
  const Rules& rules = params.rules;
  const int lane = laneIndex();
  const int warp = threadIdx.x / kLanes & 3;
  const int shift = 31 - __clz(rules.heads / rules.kvHeads);
  const int stepEntries = kRows >> shift;
  const float factor = rules.scale * kLog2E;
  const uint32_t barriers = shared + kBarriersAt;
  const WideItem* const told = reinterpret_cast<const WideItem*>(bytes + kItemsAt);
  // Row of an 8 x 8 matrix that this lane stores: key, and which chunk of two.
  const int storedKey = warp * 16 + lane % 8 + lane / 8 % 2 * 8;
  const uint32_t stored = shared + kScoresAt + storedKey * 128;
  int turn = 0;
  for (int taken = 0;; taken++) {
    waitForPhase(barriers, taken & 1);
    const WideItem& item = told[taken & 1];
    const int steps = uniform(item.steps);
    if (steps < 0) return;
    if (steps > 0) {
      // As left operands.
      uint32_t keys[8][4];
      uint32_t values[8][4];
#pragma unroll
      for (int k = 0; k < 8; k++) {
        const uint32_t at = shared + operandOffset(warp * 16 + lane % 16, 2 * k + lane / 16, kKeys);
        loadMatrix(keys[k], at);
        loadMatrix(values[k], at + kValuesAt);
      }
      float scores[32];
      float dProbabilities[32];
      // Complete blocks are visible from end to end, and positions ascend within a list.
      bool masked = false;
      const auto start = [&] {
        const int stage = turn % kStages;
        waitForPhase(barriers + kStageBarriers + stage * 16, turn / kStages & 1);
        fenceAsyncProxy();
        queueAlong(scores, keys, shared + kStagesAt + stage * kStageBytes);
      };
      uint32_t probabilities[4][4];
      float2 deltas[8];
      const auto leaveScores = [&](bool masked, int at) {
        uint32_t dScores[4][4];
#pragma unroll
        for (int j = 0; j < 8; j++) {
#pragma unroll
          for (int r = 0; r < 2; r++) {
            const int i = 4 * j + 2 * r;
            dScores[j / 2][j % 2 * 2 + r] = packBf16(dProbabilities[i] - deltas[j].x, dProbabilities[i + 1] - deltas[j].y);
          }
        }
        if (masked) {
          // Where p is 0 the other factor may be NaN: of a key that nobody sees.
#pragma unroll
          for (int i = 0; i < 16; i++) {
            const uint32_t p = probabilities[i / 4][i % 4];
            dScores[i / 4][i % 4] &= (p & 0xFFFF ? 0xFFFF : 0) | (p >> 16 ? 0xFFFF0000 : 0);
          }
        }
#pragma unroll
        for (int i = 0; i < 16; i++) dScores[i / 4][i % 4] = multiplyBf16(probabilities[i / 4][i % 4], dScores[i / 4][i % 4]);
        const uint32_t scoreBarriers = barriers + kScoreBarriers + at % kScoreStages * 16;
        waitForPhase(scoreBarriers + 8, at / kScoreStages & 1 ^ 1);
        const uint32_t target = stored + at % kScoreStages * 2 * kScoreBytes;
#pragma unroll
        for (int k = 0; k < 4; k++) {
          const uint32_t to = target + ((2 * k + lane / 16 ^ storedKey & 7) << 4);
          storeMatrix(to, probabilities[k]);
          storeMatrix(to + kScoreBytes, dScores[k]);
        }
        fenceAsyncProxy();
        arrive(scoreBarriers);
      };
      start();
      for (int step = 0;;) {
        const int stage = turn % kStages;
        const unsigned char* scalars = bytes + kScalarsAt + stage * kScalarBytes;
        const int* const entries = reinterpret_cast<const int*>(scalars) + 2 * kRows;
        const float* const logs = reinterpret_cast<const float*>(scalars) + (lane & 3) * 2;
        queueAlong(dProbabilities, values, shared + kStagesAt + stage * kStageBytes + kTileBytes);
        if (step == 0) masked = item.position + entries[0] / rules.topK < item.firstKey + kKeys - 1;
        wgmmaWait<1>();
        settle(scores);
#pragma unroll
        for (int j = 0; j < 8; j++) {
          const float2 lse = *reinterpret_cast<const float2*>(logs + 8 * j);
#pragma unroll
          for (int r = 0; r < 2; r++) {
            const float low = exp2Fast(fmaf(scores[4 * j + 2 * r], factor, lse.x * -kLog2E));
            const float high = exp2Fast(fmaf(scores[4 * j + 2 * r + 1], factor, lse.y * -kLog2E));
            probabilities[j / 2][j % 2 * 2 + r] = packBf16(low, high);
          }
        }
        if (masked) {
          const int left = item.count - step * stepEntries;
#pragma unroll
          for (int j = 0; j < 8; j++) {
#pragma unroll
            for (int c = 0; c < 2; c++) {
              const int choice = (8 * j + (lane & 3) * 2 + c) >> shift;
              const int position = choice < left ? item.position + entries[choice] / rules.topK : -1;
#pragma unroll
              for (int r = 0; r < 2; r++) {
                if (item.firstKey + warp * 16 + lane / 4 + 8 * r > position) probabilities[j / 2][j % 2 * 2 + r] &= c ? 0xFFFFu : 0xFFFF0000u;
              }
            }
          }
        }
#pragma unroll
        for (int j = 0; j < 8; j++) deltas[j] = *reinterpret_cast<const float2*>(logs + kRows + 8 * j);
        turn++;
        step++;
        wgmmaWait<0>();
        settle(dProbabilities);
        arrive(barriers + kStageBarriers + stage * 16 + 8);
        if (step == steps) break;
        start();
        leaveScores(masked, turn - 1);
      }
      leaveScores(masked, turn - 1);
    }
    arrive(barriers + 8);
  }
}

/** dV and dK, the sums over a list. */
PHSA_DEVICE void sumKeys(const SelectedGradientParams& params, const unsigned char* bytes, uint32_t shared) {
  const int warp = threadIdx.x / kLanes & 3;
  const uint32_t barriers = shared + kBarriersAt;
  const WideItem* const told = reinterpret_cast<const WideItem*>(bytes + kItemsAt);
  int turn = 0;
  for (int taken = 0;; taken++) {
    waitForPhase(barriers, taken & 1);
    const WideItem item = told[taken & 1];
    const int steps = uniform(item.steps);
    if (steps < 0) return;
    arrive(barriers + 8);
    float dKeys[64];
    float dValues[64];
#pragma unroll
    for (int i = 0; i < 64; i++) dKeys[i] = dValues[i] = 0.0f;
    // Tells that the step before `turn` has been read.
    const auto giveBack = [&](int read) {
      arrive(barriers + kStageBarriers + read % kStages * 16 + 8);
      arrive(barriers + kScoreBarriers + read % kScoreStages * 16 + 8);
    };
    if (steps > 0) {
      for (int step = 0;;) {
        const int stage = turn % kStages;
        const int scoreStage = turn % kScoreStages;
        const uint32_t rows = shared + kStagesAt + stage * kStageBytes;
        const uint32_t scores = shared + kScoresAt + scoreStage * 2 * kScoreBytes;
        waitForPhase(barriers + kStageBarriers + stage * 16, turn / kStages & 1);
        waitForPhase(barriers + kScoreBarriers + scoreStage * 16, turn / kScoreStages & 1);
        fenceAsyncProxy();
        wgmmaFence();
        queueMixed(dValues, scores, rows + kTileBytes);
        queueMixed(dKeys, scores + kScoreBytes, rows);
        wgmmaCommit();
        wgmmaWait<1>();
        if (step > 0) giveBack(turn - 1);
        turn++;
        if (++step == steps) break;
      }
      wgmmaWait<0>();
      settle(dValues);
      settle(dKeys);
      giveBack(turn - 1);
    }
#pragma unroll
    for (int i = 0; i < 64; i++) dKeys[i] *= params.rules.scale;
    finishItem(params, item, warp, dKeys, dValues);
  }
}

/** The queries' parts. */
PHSA_DEVICE void storeParts(const SelectedGradientParams& params, const unsigned char* bytes, uint32_t shared) {
  const Rules& rules = params.rules;
  const int lane = laneIndex();
  const int warp = threadIdx.x / kLanes & 3;
  const int shift = 31 - __clz(rules.heads / rules.kvHeads);
  const int stepEntries = kRows >> shift;
  const uint32_t barriers = shared + kBarriersAt;
  const WideItem* const told = reinterpret_cast<const WideItem*>(bytes + kItemsAt);
  int turn = 0;
  for (int taken = 0;; taken++) {
    waitForPhase(barriers, taken & 1);
    const WideItem& item = told[taken & 1];
    const int steps = uniform(item.steps);
    if (steps < 0) return;
    unsigned char* const parts = static_cast<unsigned char*>(params.dqPartial) + lane % 4 * 16 +
                                 ((static_cast<int64_t>(item.kvHead - params.firstKvHead) * params.rows - params.firstRow) * rules.topK << shift) * kRowBytes;
    int left = item.count;
    fenceAsyncProxy();
    for (int step = 0; step < steps; step++, turn++, left -= stepEntries) {
      const int stage = turn % kStages;
      const int scoreStage = turn % kScoreStages;
      waitForPhase(barriers + kStageBarriers + stage * 16, turn / kStages & 1);
      const int* const entries = reinterpret_cast<const int*>(bytes + kScalarsAt + stage * kScalarBytes) + 2 * kRows;
      unsigned char* targets[2];
#pragma unroll
      for (int r = 0; r < 2; r++) {
        const int row = warp * 16 + lane / 4 + 8 * r;
        const int choice = row >> shift;
        targets[r] = choice < left ? parts + ((static_cast<int64_t>(entries[choice]) << shift) + (row & ((1 << shift) - 1))) * kRowBytes : nullptr;
      }
      arrive(barriers + kStageBarriers + stage * 16 + 8);
      waitForPhase(barriers + kScoreBarriers + scoreStage * 16, turn / kScoreStages & 1);
      float part[64];
      queueAcross(part, shared + kScoresAt + scoreStage * 2 * kScoreBytes + kScoreBytes, shared);
      wgmmaWait<0>();
      settle(part);
      arrive(barriers + kScoreBarriers + scoreStage * 16 + 8);
#pragma unroll
      for (int r = 0; r < 2; r++) {
#pragma unroll
        for (int i = 0; i < 4; i++) {
          uint32_t words[4];
#pragma unroll
          for (int j = 0; j < 4; j++) words[j] = packBf16(part[4 * (4 * i + j) + 2 * r] * rules.scale, part[4 * (4 * i + j) + 2 * r + 1] * rules.scale);
          transposeQuad(words, lane);
          if (targets[r]) storeStreaming(targets[r] + i * 64, words);
        }
      }
    }
    arrive(barriers + 8);
  }
}

extern "C" __global__ void __launch_bounds__(kWideThreads, 1) selected_gradient_m64(const __grid_constant__ SelectedGradientParams params) {
  PHSA_DYNAMIC_SHARED(dynamic);
  const uint32_t at = sharedAddress(dynamic);
  const uint32_t shared = (at + 1023) & ~1023u;
  unsigned char* bytes = dynamic + (shared - at);
  if (threadIdx.x == 0) {
    const uint32_t barriers = shared + kBarriersAt;
    initBarrier(barriers, kCopyThreads + 1);
    initBarrier(barriers + 8, 3 * 128);
    for (int stage = 0; stage < kStages; stage++) {
      initBarrier(barriers + kStageBarriers + stage * 16, kCopyThreads);
      initBarrier(barriers + kStageBarriers + stage * 16 + 8, 3 * 128);
    }
    for (int stage = 0; stage < kScoreStages; stage++) {
      initBarrier(barriers + kScoreBarriers + stage * 16, 128);
      initBarrier(barriers + kScoreBarriers + stage * 16 + 8, 2 * 128);
    }
  }
  __syncthreads();
  const int role = uniform(threadIdx.x / 128);
  if (role == 0) {
    shrinkRegisters<64>();
    copyLists(params, bytes, shared);
  } else if (role == 1) {
    growRegisters<184>();
    makeScores(params, bytes, shared);
  } else if (role == 2) {
    growRegisters<160>();
    sumKeys(params, bytes, shared);
  } else {
    shrinkRegisters<104>();
    storeParts(params, bytes, shared);
  }
}
