// selected_gradient_products.cuh: the products of selected_gradient_wide_sm90.cu, and the shared memory in which its warps hand each other their parts.
#pragma once
#include "selected_gradient_sums.cuh"
#include "wgmma.cuh"

constexpr int kKeys = 64;
constexpr int kRows = 64;
constexpr int kRowBytes = kHeadDim * 2;
/** A warpgroup that copies, one for scores, one for the gradients of keys and values, one for the queries' parts. */
constexpr int kCopyThreads = 128;
constexpr int kWideThreads = kCopyThreads + 3 * 128;
/** Steps that are copied or worked on; steps whose P and dS wait or are read. */
constexpr int kStages = 4;
constexpr int kScoreStages = 3;
constexpr uint32_t kTileBytes = 64 * kRowBytes;
constexpr uint32_t kStageBytes = 2 * kTileBytes;
constexpr uint32_t kScoreBytes = kKeys * kRows * 2;
constexpr float kLog2E = 1.4426950408889634f;

/** A piece of a block's list. */
struct WideItem {
  int steps;  // -1: there is no more
  int piece;
  int count;  // of entries
  int firstEntry;
  int firstPiece;  // of the list's later pieces,
  int pieces;      // and their number
  int kvHead;
  int firstKey;  // position
  int keys;      // that exist
  int firstRow;  // of k
  int position;  // of row 0 of q
};

// Byte offsets in shared memory, from a multiple of 1024 on.
constexpr uint32_t kValuesAt = kTileBytes;
constexpr uint32_t kScoresAt = 2 * kTileBytes;  // P^T and dS^T of a step
constexpr uint32_t kStagesAt = kScoresAt + kScoreStages * 2 * kScoreBytes;
constexpr uint32_t kScalarBytes = 3 * kRows * 4;  // lse, delta, entries
constexpr uint32_t kScalarsAt = kStagesAt + kStages * kStageBytes;
constexpr uint32_t kItemsAt = kScalarsAt + kStages * kScalarBytes;
constexpr uint32_t kNextAt = kItemsAt + 2 * sizeof(WideItem);
constexpr uint32_t kBarriersAt = (kNextAt + 2 * 4 + 7) / 8 * 8;
// Barriers, full and empty: of the keys, of each stage, of each stage of scores.
constexpr uint32_t kStageBarriers = 16;
constexpr uint32_t kScoreBarriers = kStageBarriers + kStages * 16;
constexpr uint32_t kWideBytes = kBarriersAt + kScoreBarriers + kScoreStages * 16;
static_assert(kWideBytes + 1024 <= 227 * 1024, "with what aligning may take");

/** Arrives once this thread's copies up to now have been written. */
PHSA_DEVICE void arriveAfterCopies(uint32_t barrier) {
  asm volatile("cp.async.mbarrier.arrive.noinc.shared::cta.b64 [%0];\n" ::"r"(barrier) : "memory");
}

/** Written once and read by a later kernel: first to leave the cache. */
PHSA_DEVICE void storeStreaming(void* target, const uint32_t (&values)[4]) {
  asm volatile("st.global.cs.v4.b32 [%0], {%1, %2, %3, %4};\n" ::"l"(target), "r"(values[0]), "r"(values[1]), "r"(values[2]), "r"(values[3]) : "memory");
}

/** Stores four 8 x 8 matrices of bf16; lane l gives the address of row l % 8 of matrix l / 8. */
PHSA_DEVICE void storeMatrix(uint32_t address, const uint32_t (&r)[4]) {
  asm volatile("stmatrix.sync.aligned.m8n8.x4.shared.b16 [%0], {%1, %2, %3, %4};\n" ::"r"(address), "r"(r[0]), "r"(r[1]), "r"(r[2]), "r"(r[3]) : "memory");
}

PHSA_DEVICE uint32_t multiplyBf16(uint32_t a, uint32_t b) {
  uint32_t product;
  asm("mul.rn.bf16x2 %0, %1, %2;" : "=r"(product) : "r"(a), "r"(b));
  return product;
}

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

/** Queues products[64, 64] = a b^T of 64 rows of 128 each, `a` in registers. */
PHSA_DEVICE void queueAlong(float (&products)[32], const uint32_t (&a)[8][4], uint32_t b) {
  const uint32_t right = alongK(b);
  wgmmaFence();
#pragma unroll
  for (int k = 0; k < 8; k++) wgmma<0>(products, a[k], operand(right + (k / 4 * 64 * 128 + k % 4 * 32) / 16), k > 0);
  wgmmaCommit();
}

/** d[64, 128] += a b, the first K-major, the second MN-major. */
PHSA_DEVICE void wgmmaMixed(float (&d)[64], uint64_t a, uint64_t b, int accumulate) {
  asm volatile(
      "{\n.reg .pred p;\nsetp.ne.b32 p, %66, 0;\n"
      "wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 {%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, %48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63}, %64, %65, p, 1, 1, 0, 1;\n}\n"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]), "+f"(d[4]), "+f"(d[5]), "+f"(d[6]), "+f"(d[7]), "+f"(d[8]), "+f"(d[9]), "+f"(d[10]), "+f"(d[11]), "+f"(d[12]), "+f"(d[13]), "+f"(d[14]), "+f"(d[15]), "+f"(d[16]), "+f"(d[17]), "+f"(d[18]), "+f"(d[19]), "+f"(d[20]), "+f"(d[21]), "+f"(d[22]), "+f"(d[23]), "+f"(d[24]), "+f"(d[25]), "+f"(d[26]), "+f"(d[27]), "+f"(d[28]), "+f"(d[29]), "+f"(d[30]), "+f"(d[31]), "+f"(d[32]), "+f"(d[33]), "+f"(d[34]), "+f"(d[35]), "+f"(d[36]), "+f"(d[37]), "+f"(d[38]), "+f"(d[39]), "+f"(d[40]), "+f"(d[41]), "+f"(d[42]), "+f"(d[43]), "+f"(d[44]), "+f"(d[45]), "+f"(d[46]), "+f"(d[47]), "+f"(d[48]), "+f"(d[49]), "+f"(d[50]), "+f"(d[51]), "+f"(d[52]), "+f"(d[53]), "+f"(d[54]), "+f"(d[55]), "+f"(d[56]), "+f"(d[57]), "+f"(d[58]), "+f"(d[59]), "+f"(d[60]), "+f"(d[61]), "+f"(d[62]), "+f"(d[63])
      : "l"(a), "l"(b), "r"(accumulate));
}

/** d[64, 128] (+)= a b of MN-major operands in shared memory; the second one does not ask for what was in d before. */
PHSA_DEVICE void wgmmaAcross(float (&d)[64], uint64_t a, uint64_t b, int accumulate) {
  asm volatile(
      "{\n.reg .pred p;\nsetp.ne.b32 p, %66, 0;\n"
      "wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 {%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, %48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63}, %64, %65, p, 1, 1, 1, 1;\n}\n"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]), "+f"(d[4]), "+f"(d[5]), "+f"(d[6]), "+f"(d[7]), "+f"(d[8]), "+f"(d[9]), "+f"(d[10]), "+f"(d[11]), "+f"(d[12]), "+f"(d[13]), "+f"(d[14]), "+f"(d[15]), "+f"(d[16]), "+f"(d[17]), "+f"(d[18]), "+f"(d[19]), "+f"(d[20]), "+f"(d[21]), "+f"(d[22]), "+f"(d[23]), "+f"(d[24]), "+f"(d[25]), "+f"(d[26]), "+f"(d[27]), "+f"(d[28]), "+f"(d[29]), "+f"(d[30]), "+f"(d[31]), "+f"(d[32]), "+f"(d[33]), "+f"(d[34]), "+f"(d[35]), "+f"(d[36]), "+f"(d[37]), "+f"(d[38]), "+f"(d[39]), "+f"(d[40]), "+f"(d[41]), "+f"(d[42]), "+f"(d[43]), "+f"(d[44]), "+f"(d[45]), "+f"(d[46]), "+f"(d[47]), "+f"(d[48]), "+f"(d[49]), "+f"(d[50]), "+f"(d[51]), "+f"(d[52]), "+f"(d[53]), "+f"(d[54]), "+f"(d[55]), "+f"(d[56]), "+f"(d[57]), "+f"(d[58]), "+f"(d[59]), "+f"(d[60]), "+f"(d[61]), "+f"(d[62]), "+f"(d[63])
      : "l"(a), "l"(b), "r"(accumulate));
}
PHSA_DEVICE void wgmmaAcrossFresh(float (&d)[64], uint64_t a, uint64_t b) {
  asm volatile(
      "{\n.reg .pred p;\nsetp.ne.b32 p, 0, 0;\n"
      "wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 {%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, %48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63}, %64, %65, p, 1, 1, 1, 1;\n}\n"
      : "=f"(d[0]), "=f"(d[1]), "=f"(d[2]), "=f"(d[3]), "=f"(d[4]), "=f"(d[5]), "=f"(d[6]), "=f"(d[7]), "=f"(d[8]), "=f"(d[9]), "=f"(d[10]), "=f"(d[11]), "=f"(d[12]), "=f"(d[13]), "=f"(d[14]), "=f"(d[15]), "=f"(d[16]), "=f"(d[17]), "=f"(d[18]), "=f"(d[19]), "=f"(d[20]), "=f"(d[21]), "=f"(d[22]), "=f"(d[23]), "=f"(d[24]), "=f"(d[25]), "=f"(d[26]), "=f"(d[27]), "=f"(d[28]), "=f"(d[29]), "=f"(d[30]), "=f"(d[31]), "=f"(d[32]), "=f"(d[33]), "=f"(d[34]), "=f"(d[35]), "=f"(d[36]), "=f"(d[37]), "=f"(d[38]), "=f"(d[39]), "=f"(d[40]), "=f"(d[41]), "=f"(d[42]), "=f"(d[43]), "=f"(d[44]), "=f"(d[45]), "=f"(d[46]), "=f"(d[47]), "=f"(d[48]), "=f"(d[49]), "=f"(d[50]), "=f"(d[51]), "=f"(d[52]), "=f"(d[53]), "=f"(d[54]), "=f"(d[55]), "=f"(d[56]), "=f"(d[57]), "=f"(d[58]), "=f"(d[59]), "=f"(d[60]), "=f"(d[61]), "=f"(d[62]), "=f"(d[63])
      : "l"(a), "l"(b));
}

/** Queues part[64, 128] = dS K, of dS^T [64 keys, 64 rows] and 64 keys. */
PHSA_DEVICE void queueAcross(float (&part)[64], uint32_t dScores, uint32_t keys) {
  const uint32_t left = acrossK(dScores, kKeys);
  const uint32_t right = acrossK(keys, kKeys);
  wgmmaFence();
  wgmmaAcrossFresh(part, operand(left), operand(right));
#pragma unroll
  for (int k = 1; k < 4; k++) wgmmaAcross(part, operand(left + 128 * k), operand(right + 128 * k), 1);
  wgmmaCommit();
}

/** Queues sums[64, 128] += a b of a [64 keys, 64 rows], P^T or dS^T, and 64 rows. */
PHSA_DEVICE void queueMixed(float (&sums)[64], uint32_t scores, uint32_t rows) {
  const uint32_t left = alongK(scores);
  const uint32_t right = acrossK(rows, kRows);
#pragma unroll
  for (int k = 0; k < 4; k++) wgmmaMixed(sums, operand(left + 2 * k), operand(right + 128 * k), 1);
}

/** Adds the sums of a warp's 16 keys to what was there before, or leaves them for selected_gradient_finish. */
PHSA_DEVICE void finishItem(const SelectedGradientParams& params, const WideItem& item, int slice, const float (&dKeys)[64], const float (&dValues)[64]) {
  constexpr int kSlices = kKeys / 16;
  const float(&dKey)[16][4] = reinterpret_cast<const float(&)[16][4]>(dKeys);
  const float(&dValue)[16][4] = reinterpret_cast<const float(&)[16][4]>(dValues);
  if (item.piece > 0) {
    float4* dk = partialOf(params, kSlices, item.firstPiece + item.piece - 1, slice, 0);
    float4* dv = partialOf(params, kSlices, item.firstPiece + item.piece - 1, slice, 1);
#pragma unroll
    for (int n = 0; n < 16; n++) {
      dk[n * kLanes] = make_float4(dKey[n][0], dKey[n][1], dKey[n][2], dKey[n][3]);
      dv[n * kLanes] = make_float4(dValue[n][0], dValue[n][1], dValue[n][2], dValue[n][3]);
    }
    return;
  }
  KeySlice keys{};
  keys.kvHead = item.kvHead;
  keys.firstKey = item.firstKey + slice * 16;
  keys.keys = max(0, min(16, item.keys - slice * 16));
  keys.row = static_cast<int64_t>(item.firstRow) + slice * 16;
  const bool final = params.last && item.pieces == 0;
  addSums(params.dkSums, params.dk, keys, params.rules.kvHeads, final, dKey);
  addSums(params.dvSums, params.dv, keys, params.rules.kvHeads, final, dValue);
}
