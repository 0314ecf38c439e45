// hopper.cuh: instructions of compute capability 9.0 that C++ has no name for. Only *_sm90.cu include it.
#pragma once
#include "platform.cuh"

PHSA_DEVICE uint32_t sharedAddress(const void* pointer) { return static_cast<uint32_t>(__cvta_generic_to_shared(pointer)); }

/** Queues a copy of 16 bytes into shared memory, or of zeros where not `valid`; the source must be readable all the same. */
PHSA_DEVICE void copyAsync16(uint32_t target, const void* source, bool valid) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;\n" ::"r"(target), "l"(source), "r"(valid ? 16 : 0));
}

/** The same with 4 bytes; the second one copies them in any case. */
PHSA_DEVICE void copyAsync4(uint32_t target, const void* source, bool valid) {
  asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;\n" ::"r"(target), "l"(source), "r"(valid ? 4 : 0));
}
PHSA_DEVICE void copyAsync4(uint32_t target, const void* source) {
  asm volatile("cp.async.ca.shared.global [%0], [%1], 4;\n" ::"r"(target), "l"(source));
}

PHSA_DEVICE void commitCopies() { asm volatile("cp.async.commit_group;\n" ::: "memory"); }

/** Waits until at most `Pending` of this thread's committed groups are under way. */
template <int Pending>
PHSA_DEVICE void waitForCopies() {
  asm volatile("cp.async.wait_group %0;\n" ::"n"(Pending) : "memory");
}

/** What this thread wrote to shared memory can be read by wgmma once the readers are past a barrier that follows. */
PHSA_DEVICE void fenceAsyncProxy() { asm volatile("fence.proxy.async.shared::cta;\n" ::: "memory"); }

// mbarriers

PHSA_DEVICE void initBarrier(uint32_t barrier, int arrivals) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;\n" ::"r"(barrier), "r"(arrivals) : "memory");
}

PHSA_DEVICE void arrive(uint32_t barrier) { asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];\n" ::"r"(barrier) : "memory"); }

/** Waits until the phase of this parity has ended. */
PHSA_DEVICE void waitForPhase(uint32_t barrier, int parity) {
  asm volatile(
      "{\n.reg .pred p;\nwaiting_%=:\nmbarrier.try_wait.parity.shared::cta.b64 p, [%0], %1;\n@p bra done_%=;\nbra waiting_%=;\ndone_%=:\n}\n" ::"r"(barrier),
      "r"(parity)
      : "memory");
}

/** Arrives, and keeps the phase open until so many bytes have been copied. */
PHSA_DEVICE void expectBytes(uint32_t barrier, int bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;\n" ::"r"(barrier), "r"(bytes) : "memory");
}

/** Copies contiguous bytes into shared memory and counts them on the barrier. */
PHSA_DEVICE void copyBulk(uint32_t target, const void* source, int bytes, uint32_t barrier) {
  asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];\n" ::"r"(target), "l"(source), "r"(bytes),
               "r"(barrier)
               : "memory");
}

/** Barrier `id` (1 to 15) of so many threads. */
PHSA_DEVICE void syncThreads(int id, int threads) { asm volatile("bar.sync %0, %1;\n" ::"r"(id), "r"(threads) : "memory"); }

/**
 * The calling warpgroup gives up or takes registers; kernels need __launch_bounds__(threads, 1) for it. Over all warpgroups no more than the launch
 * took, or the last one waits for ever: 24, 240 and 240 of three that have 168 each.
 */
template <int Registers>
PHSA_DEVICE void shrinkRegisters() {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;\n" ::"n"(Registers));
}
template <int Registers>
PHSA_DEVICE void growRegisters() {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;\n" ::"n"(Registers));
}

/** The same number in every lane, known to be so. */
PHSA_DEVICE int uniform(int value) { return __shfl_sync(0xFFFFFFFF, value, 0); }

// Warp-wide matrix products

PHSA_DEVICE void loadMatrix(uint32_t (&r)[4], uint32_t address) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];\n" : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(address));
}

PHSA_DEVICE void loadMatrixTransposed(uint32_t (&r)[4], uint32_t address) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];\n"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(address));
}

/** d[16, 8] += a[16, 16] b[16, 8] */
PHSA_DEVICE void mma(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};\n"
               : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// Warpgroup products: order

PHSA_DEVICE void wgmmaFence() { asm volatile("wgmma.fence.sync.aligned;\n" ::: "memory"); }
PHSA_DEVICE void wgmmaCommit() { asm volatile("wgmma.commit_group.sync.aligned;\n" ::: "memory"); }

template <int Pending>
PHSA_DEVICE void wgmmaWait() {
  asm volatile("wgmma.wait_group.sync.aligned %0;\n" ::"n"(Pending) : "memory");
}

/** Keeps the compiler from reading accumulators before the wait that stands in front of this. */
template <int N>
PHSA_DEVICE void settle(float (&d)[N]) {
#pragma unroll
  for (int i = 0; i < N; i++) asm volatile("" : "+f"(d[i])::"memory");
}

/** Descriptor of an operand in shared memory with the 128-byte swizzle; `stride` and `leading` are in bytes, see operandOffset. */
PHSA_DEVICE uint64_t descriptor(uint32_t address, int leading, int stride) {
  return static_cast<uint64_t>((address & 0x3FFFF) >> 4) | static_cast<uint64_t>(leading >> 4) << 16 | static_cast<uint64_t>(stride >> 4) << 32 |
         static_cast<uint64_t>(1) << 62;
}

/**
 * Where 16-byte chunk `chunk` of row `row` lies in an operand of `rows` rows: panels of 128 bytes a row side by side, swizzled, aligned to 1024 bytes.
 *
 * K-major (the row is M or N, along it runs K): descriptor(panel + 32 * (k16 % 4), 16, 1024), panel k16 / 4.
 * MN-major (the row is K, along it runs M or N): descriptor(start + 2048 * k16, rows * 128, 1024).
 */
PHSA_DEVICE uint32_t operandOffset(int row, int chunk, int rows) { return (chunk >> 3) * rows * 128 + row * 128 + (((chunk & 7) ^ (row & 7)) << 4); }

/**
 * The same descriptors by their low words, which steps along K are added to in units of 16 bytes: one addition a product. `alongK` is of a K-major
 * operand, `acrossK` of an MN-major one of `rows` rows; their addresses are below 2^18.
 */
PHSA_DEVICE uint64_t operand(uint32_t low) { return static_cast<uint64_t>(0x40000040) << 32 | low; }
PHSA_DEVICE uint32_t alongK(uint32_t address) { return address >> 4 | 1 << 16; }
PHSA_DEVICE uint32_t acrossK(uint32_t address, int rows) { return address >> 4 | (rows * 128 >> 4) << 16; }

// Arithmetic

PHSA_DEVICE float exp2Fast(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

/** Two floats rounded to bf16, the first in the low half. */
PHSA_DEVICE uint32_t packBf16(float low, float high) {
  uint32_t packed;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(packed) : "f"(high), "f"(low));
  return packed;
}
