// operand_loads.cuh: brings operands of tensor-core products into shared memory and from there into registers (compute capability 8.0 and later). The
// emulation brings its own.
#pragma once
#include "platform.cuh"

#ifndef PHSA_EMULATION

PHSA_DEVICE uint32_t sharedAddress(const void* pointer) { return static_cast<uint32_t>(__cvta_generic_to_shared(pointer)); }

/** Four 8 x 8 matrices of 16-bit elements: lane 8 m + i names row i of matrix m. Lane l gets row l / 4, columns 2 (l % 4) and the next, of each. */
PHSA_DEVICE void loadMatrices(uint32_t (&matrices)[4], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];\n"
               : "=r"(matrices[0]), "=r"(matrices[1]), "=r"(matrices[2]), "=r"(matrices[3])
               : "r"(sharedAddress(row)));
}

/** The same, each matrix transposed: lane l gets rows 2 (l % 4) and the next of column l / 4. */
PHSA_DEVICE void loadMatricesTransposed(uint32_t (&matrices)[4], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];\n"
               : "=r"(matrices[0]), "=r"(matrices[1]), "=r"(matrices[2]), "=r"(matrices[3])
               : "r"(sharedAddress(row)));
}

/** Begins to copy 16 bytes to shared memory, of which only the first `bytes` are read and the others are 0. Both addresses are multiples of 16. */
PHSA_DEVICE void beginCopy(void* target, const void* source, int bytes) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;\n" ::"r"(sharedAddress(target)), "l"(source), "r"(bytes) : "memory");
}

/** Ends a group of this thread's copies. */
PHSA_DEVICE void endCopies() { asm volatile("cp.async.commit_group;\n" ::: "memory"); }

/** Waits until no more than N of the last groups are under way. */
template <int N>
PHSA_DEVICE void waitForCopies() {
  asm volatile("cp.async.wait_group %0;\n" ::"n"(N) : "memory");
}

#endif
