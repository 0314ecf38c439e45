// attend_forced_gradient_sm90.cu: gradients of k and v from the queries that see a key without having chosen it: as a first token, in the local
// window or densely (spec 5). bf16, D 128, power-of-two groups. Deterministic: no atomics.
//
// A key at position j is seen so by a contiguous range of queries, j to endOf(j). A thread block owns 128 keys of a KV head, 64 a warpgroup, and
// walks the queries of the range 64 rows (query, head) a step, which a producer warpgroup copies ahead. Of a step the scores are made transposed,
// K Q^T and V dO^T: so p and ds come out as the left operands, in registers, of dV += p dO and dK += ds Q, and only K, V, Q and dO lie in shared
// memory. First keys are seen by all later queries: in long sequences their range is cut into chunks, a thread block each, whose f32 sums
// attend_forced_gradient_sum adds in order.
// Numerics: p and dP - delta are rounded to bf16, and so is ds, their product; f32 sums. Bound: shared memory, from which both operands of
// the first two products come; by estimate nearly as long the tensor cores, 4 x 64 x 64 x 128 a step and warpgroup.
#include "forced_gradient_work.cuh"
#include "hopper.cuh"
#include "wgmma.cuh"

constexpr int kKeysPerGroup = 64;
constexpr int kRows = 64;
constexpr int kStages = 4;
constexpr int kThreads = 384;
constexpr int kProducers = 128;
constexpr int kConsumers = 256;
constexpr uint32_t kKeyBytes = kKeys * kDim * 2;
constexpr uint32_t kRowBytes = kRows * kDim * 2;
constexpr float kLog2E = 1.4426950408889634f;

// Byte offsets in shared memory, from a multiple of 1024 on.
constexpr uint32_t kValuesAt = kKeyBytes;
constexpr uint32_t kStagesAt = 2 * kKeyBytes;
constexpr uint32_t kLogsAt = kStagesAt + kStages * 2 * kRowBytes;
constexpr uint32_t kBarriersAt = kLogsAt + kStages * 2 * kRows * 4;
constexpr uint32_t kSharedBytes = kBarriersAt + 2 * kStages * 8;
static_assert(kSharedBytes + 1024 <= 227 * 1024, "with what aligning may take");

PHSA_DEVICE void produce(const ForcedKeyGradientParams& params, const Work& work, int kvHead, uint32_t shared, int steps, int shift) {
  const Sequences& sequences = params.sequences;
  const int thread = threadIdx.x;
  const int heads = params.rules.heads;
  const int queriesOfStep = kRows >> shift;
  const int chunk = thread & 15;
  const int firstRow = thread >> 4;
  if (steps > 0) {
    const int64_t keyStart = sequences.keyStarts[work.sequence] + work.firstKey;
#pragma unroll 2
    for (int row = firstRow; row < kKeys; row += 8) {
      const bool valid = work.firstKey + row < work.length;
      const int64_t at = ((keyStart + (valid ? row : 0)) * params.rules.kvHeads + kvHead) * (kDim * 2) + chunk * 16;
      const uint32_t target = shared + operandOffset(row, chunk, kKeys);
      copyAsync16(target, static_cast<const char*>(params.k) + at, valid);
      copyAsync16(target + kValuesAt, static_cast<const char*>(params.v) + at, valid);
    }
  }
  // Of the row of q and the head that a position and head 0 of the group have.
  const int64_t position = sequences.queryStarts[work.sequence] - firstPosition(sequences, work.sequence);
  const int headStart = kvHead << shift;
  const int headMask = (1 << shift) - 1;
  const uint32_t rowTarget = shared + kStagesAt + operandOffset(firstRow, chunk, kRows);
  // Bytes from a thread's row to its next, 8 rows on, from even ones and from odd ones.
  const int even = shift == 4 ? 8 * kDim * 2 : (8 >> shift) * heads * kDim * 2;
  const int odd = shift == 4 ? (heads - 8) * kDim * 2 : even;
  const int64_t dOutOffset = static_cast<const char*>(params.dOut) - static_cast<const char*>(params.q);
  for (int step = 0; step < steps; step++) {
    const int stage = step % kStages;
    const uint32_t barriers = shared + kBarriersAt + stage * 16;
    if (step >= kStages) waitForPhase(barriers + 8, (step / kStages - 1) & 1);
    const int start = work.firstQuery + step * queriesOfStep;
    const int64_t startRow = (position + start) * heads + headStart;
    const uint32_t target = rowTarget + stage * 2 * kRowBytes;
    const char* source = static_cast<const char*>(params.q) + (startRow + (firstRow >> shift) * heads + (firstRow & headMask)) * (kDim * 2) + chunk * 16;
    if (start + queriesOfStep <= work.endQuery) {
#pragma unroll
      for (int i = 0; i < kRows / 8; i++) {
        copyAsync16(target + i * 1024, source, true);
        copyAsync16(target + i * 1024 + kRowBytes, source + dOutOffset, true);
        source += i % 2 ? odd : even;
      }
    } else {
#pragma unroll 1
      for (int i = 0; i < kRows / 8; i++) {
        const bool valid = start + ((firstRow + 8 * i) >> shift) < work.endQuery;
        const char* from = valid ? source : static_cast<const char*>(params.q);
        copyAsync16(target + i * 1024, from, valid);
        copyAsync16(target + i * 1024 + kRowBytes, from + dOutOffset, valid);
        source += i % 2 ? odd : even;
      }
    }
    const int row = thread & (kRows - 1);
    const int query = row >> shift;
    const bool valid = start + query < work.endQuery;
    const float* log = thread < kRows ? params.lse : params.delta;
    copyAsync4(shared + kLogsAt + (stage * 2 * kRows + thread) * 4, log + (valid ? startRow + query * heads + (row & headMask) : 0), valid);
    commitCopies();
    if (step > 0) {
      waitForCopies<1>();
      fenceAsyncProxy();
      arrive(shared + kBarriersAt + (step - 1) % kStages * 16);
    }
  }
  if (steps > 0) {
    waitForCopies<0>();
    fenceAsyncProxy();
    arrive(shared + kBarriersAt + (steps - 1) % kStages * 16);
  }
}

PHSA_DEVICE void store(float* target, int64_t stride, const float (&sums)[64], float factor, int keys, int row) {
  const int column = (threadIdx.x & 3) * 2;
#pragma unroll
  for (int r = 0; r < 2; r++) {
    if (row + 8 * r >= keys) continue;
    float* at = target + (row + 8 * r) * stride + column;
#pragma unroll
    for (int j = 0; j < 16; j++) {
      *reinterpret_cast<float2*>(at + 8 * j) = make_float2(sums[4 * j + 2 * r] * factor, sums[4 * j + 2 * r + 1] * factor);
    }
  }
}

/** Passes over a step. */
PHSA_DEVICE void giveBack(uint32_t shared, int step) {
  const uint32_t barriers = shared + kBarriersAt + step % kStages * 16;
  waitForPhase(barriers, step / kStages & 1);
  arrive(barriers + 8);
}

/** Queues the product of this warpgroup's keys, or values, with the rows of q, or dOut. */
PHSA_DEVICE void queueProduct(float (&products)[32], uint32_t keysAt, uint32_t rowsAt) {
  const uint32_t keys = alongK(keysAt);
  const uint32_t rows = alongK(rowsAt);
  wgmmaFence();
#pragma unroll
  for (int k = 0; k < 8; k++) {
    wgmma(products, operand(keys + (k / 4 * kKeys * 128 + k % 4 * 32) / 16), operand(rows + (k / 4 * kRows * 128 + k % 4 * 32) / 16), k > 0);
  }
  wgmmaCommit();
}

PHSA_DEVICE uint32_t multiplyBf16(uint32_t a, uint32_t b) {
  uint32_t product;
  asm("mul.rn.bf16x2 %0, %1, %2;" : "=r"(product) : "r"(a), "r"(b));
  return product;
}

PHSA_DEVICE void consume(const ForcedKeyGradientParams& params, const Work& work, const unsigned char* bytes, uint32_t shared, int steps, int shift) {
  const Rules& rules = params.rules;
  const int group = uniform(threadIdx.x / 128) - 1;
  const int lane = threadIdx.x & 31;
  const int row = group * kKeysPerGroup + (threadIdx.x / 32 & 3) * 16 + lane / 4;
  const int queriesOfStep = kRows >> shift;

  const int firstKey = work.firstKey + group * kKeysPerGroup;
  const int lastKey = min(firstKey + kKeysPerGroup, work.length) - 1;
  const int initEnd = rules.initBlocks * rules.blockSize;
  const bool any = firstKey < work.length && steps > 0;
  const int groupEnd = any ? max(endOf(rules, work.length, firstKey), endOf(rules, work.length, lastKey)) : 0;
  // Steps up to here, and from the last key on, need no masks.
  const int wholeEnd = firstKey + kKeysPerGroup <= work.length
                           ? (lastKey < initEnd ? work.length : endOf(rules, work.length, max(firstKey, initEnd)))
                           : 0;
  int keys[2];
  int spans[2];
#pragma unroll
  for (int r = 0; r < 2; r++) {
    keys[r] = work.firstKey + row + 8 * r;
    spans[r] = max(0, endOf(rules, work.length, keys[r]) - keys[r]);
  }

  float keySums[64];
  float valueSums[64];
#pragma unroll
  for (int i = 0; i < 64; i++) keySums[i] = valueSums[i] = 0.0f;
  const float scale = rules.scale * kLog2E;
  const uint32_t keysAt = shared + group * kKeysPerGroup * 128;
  // Steps whose queries see a key of this warpgroup; at least one, so that the loop has no other way through.
  const int last = uniform(min(steps, max(1, (groupEnd - work.firstQuery + queriesOfStep - 1) >> (6 - shift))));
  const int first = uniform(min(max(0, last - 1), max(0, firstKey - work.firstQuery) >> (6 - shift)));
  for (int step = 0; step < first; step++) giveBack(shared, step);
  if (first < last) {
    float scores[32];
    float dProbabilities[32];
    waitForPhase(shared + kBarriersAt + first % kStages * 16, first / kStages & 1);
    queueProduct(scores, keysAt, shared + kStagesAt + first % kStages * 2 * kRowBytes);
    for (int step = first;;) {
      const int stage = step % kStages;
      const int start = work.firstQuery + step * queriesOfStep;
      const uint32_t queriesAt = shared + kStagesAt + stage * 2 * kRowBytes;
      const uint32_t dOutsAt = queriesAt + kRowBytes;
      const float* logs = reinterpret_cast<const float*>(bytes + kLogsAt) + stage * 2 * kRows + (lane & 3) * 2;
      queueProduct(dProbabilities, keysAt + kValuesAt, dOutsAt);
      wgmmaWait<1>();
      settle(scores);
#pragma unroll
      for (int j = 0; j < 8; j++) {
        const float2 lse = *reinterpret_cast<const float2*>(logs + 8 * j);
#pragma unroll
        for (int r = 0; r < 2; r++) {
          scores[4 * j + 2 * r] = exp2Fast(fmaf(scores[4 * j + 2 * r], scale, lse.x * -kLog2E));
          scores[4 * j + 2 * r + 1] = exp2Fast(fmaf(scores[4 * j + 2 * r + 1], scale, lse.y * -kLog2E));
        }
      }
      const bool whole = start >= lastKey && start + queriesOfStep <= wholeEnd;
      if (!whole) {
#pragma unroll
        for (int j = 0; j < 8; j++) {
#pragma unroll
          for (int c = 0; c < 2; c++) {
            const int position = start + ((8 * j + (lane & 3) * 2 + c) >> shift);
#pragma unroll
            for (int r = 0; r < 2; r++) {
              if (static_cast<unsigned>(position - keys[r]) >= static_cast<unsigned>(spans[r])) scores[4 * j + 2 * r + c] = 0.0f;
            }
          }
        }
      }
      uint32_t probabilities[4][4];
#pragma unroll
      for (int i = 0; i < 16; i++) probabilities[i / 4][i % 4] = packBf16(scores[2 * i], scores[2 * i + 1]);
      wgmmaFence();
#pragma unroll
      for (int k = 0; k < 4; k++) wgmma<1>(valueSums, probabilities[k], operand(acrossK(dOutsAt, kRows) + 128 * k), 1);
      wgmmaCommit();
      wgmmaWait<1>();
      settle(dProbabilities);

      uint32_t dScores[4][4];
#pragma unroll
      for (int j = 0; j < 8; j++) {
        const float2 delta = *reinterpret_cast<const float2*>(logs + kRows + 8 * j);
#pragma unroll
        for (int r = 0; r < 2; r++) {
          dScores[j / 2][j % 2 * 2 + r] = packBf16(dProbabilities[4 * j + 2 * r] - delta.x, dProbabilities[4 * j + 2 * r + 1] - delta.y);
        }
      }
      if (!whole) {
        // Where p is 0 the other factor may be NaN: of a key that nobody sees.
#pragma unroll
        for (int i = 0; i < 16; i++) {
          const uint32_t p = probabilities[i / 4][i % 4];
          dScores[i / 4][i % 4] &= (p & 0xFFFF ? 0xFFFF : 0) | (p >> 16 ? 0xFFFF0000 : 0);
        }
      }
#pragma unroll
      for (int i = 0; i < 16; i++) dScores[i / 4][i % 4] = multiplyBf16(probabilities[i / 4][i % 4], dScores[i / 4][i % 4]);
      wgmmaFence();
#pragma unroll
      for (int k = 0; k < 4; k++) wgmma<1>(keySums, dScores[k], operand(acrossK(queriesAt, kRows) + 128 * k), 1);
      wgmmaCommit();
      step++;
      if (step == last) break;
      waitForPhase(shared + kBarriersAt + step % kStages * 16, step / kStages & 1);
      queueProduct(scores, keysAt, shared + kStagesAt + step % kStages * 2 * kRowBytes);
      wgmmaWait<1>();
      settle(valueSums);
      settle(keySums);
      arrive(shared + kBarriersAt + stage * 16 + 8);
    }
    wgmmaWait<0>();
    settle(valueSums);
    settle(keySums);
    arrive(shared + kBarriersAt + (last - 1) % kStages * 16 + 8);
  }
  for (int step = last; step < steps; step++) giveBack(shared, step);
  const int count = min(kKeys, work.length - work.firstKey);
  store(work.dk, work.stride, keySums, rules.scale, count, row);
  store(work.dv, work.stride, valueSums, 1.0f, count, row);
}

PHSA_DEVICE uint32_t alignedShared(unsigned char*& bytes) {
  const uint32_t at = sharedAddress(bytes);
  const uint32_t aligned = (at + 1023) & ~1023u;
  bytes += aligned - at;
  return aligned;
}

extern "C" __global__ void __launch_bounds__(kThreads, 1) attend_forced_gradient_sm90(const __grid_constant__ ForcedKeyGradientParams params) {
  PHSA_DYNAMIC_SHARED(dynamic);
  const int kvHead = blockIdx.x;
  Work work;
  if (!findWork(params, kvHead, work)) return;
  const int shift = 31 - __clz(params.rules.heads / params.rules.kvHeads);
  const int steps = max(0, (work.endQuery - work.firstQuery + (kRows >> shift) - 1) >> (6 - shift));
  unsigned char* bytes = dynamic;
  const uint32_t shared = alignedShared(bytes);
  if (threadIdx.x == 0) {
    for (int stage = 0; stage < kStages; stage++) {
      initBarrier(shared + kBarriersAt + stage * 16, kProducers);
      initBarrier(shared + kBarriersAt + stage * 16 + 8, kConsumers);
    }
  }
  __syncthreads();
  if (threadIdx.x < kProducers) {
    shrinkRegisters<24>();
    produce(params, work, kvHead, shared, steps, shift);
  } else {
    growRegisters<240>();
    consume(params, work, bytes, shared, steps, shift);
  }
}

/** Adds up what the chunks of a long sequence gave for its first keys: grid (128 keys / 8, Hkv * initTiles, chunkItems), 256 threads. */
extern "C" __global__ void __launch_bounds__(256) attend_forced_gradient_sum(const __grid_constant__ ForcedKeyGradientParams params) {
  const Sequences& sequences = params.sequences;
  const RowTile rows = rowTile(sequences.queryStarts, sequences.sequences, sequences.queryTokens, params.chunk, blockIdx.z);
  if (rows.sequence >= sequences.sequences || rows.first != sequences.queryStarts[rows.sequence]) return;
  const int queries = sequences.queryStarts[rows.sequence + 1] - rows.first;
  const int kvHead = blockIdx.y % params.rules.kvHeads;
  const int tile = blockIdx.y / params.rules.kvHeads;
  const int row = blockIdx.x * 8 + threadIdx.x / 32;
  const int key = tile * kKeys + row;
  if (queries <= params.chunk || key >= keyCount(sequences, rows.sequence)) return;
  const int column = threadIdx.x % 32 * 4;
  const int chunks = (queries + params.chunk - 1) / params.chunk;
  const int64_t step = partialOffset(params, rows.sequence, 1, tile, kvHead) - partialOffset(params, rows.sequence, 0, tile, kvHead);
  const float* source = params.partials + partialOffset(params, rows.sequence, 0, tile, kvHead) + row * kDim + column;
  float4 dk = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
  float4 dv = dk;
#pragma unroll 4
  for (int chunk = 0; chunk < chunks; chunk++) {
    const float4 a = *reinterpret_cast<const float4*>(source + chunk * step);
    const float4 b = *reinterpret_cast<const float4*>(source + chunk * step + kKeys * kDim);
    dk = make_float4(dk.x + a.x, dk.y + a.y, dk.z + a.z, dk.w + a.w);
    dv = make_float4(dv.x + b.x, dv.y + b.y, dv.z + b.z, dv.w + b.w);
  }
  const int64_t at = ((static_cast<int64_t>(sequences.keyStarts[rows.sequence]) + key) * params.rules.kvHeads + kvHead) * kDim + column;
  *reinterpret_cast<float4*>(params.dk + at) = dk;
  *reinterpret_cast<float4*>(params.dv + at) = dv;
}
