// overlap.cuh: a kernel that begins while the one before it in the queue still runs (compute capability 9.0; elsewhere these do nothing, and the host
// asks for no overlap). It may read nothing that the one before writes until it has waited. Whoever lets the next one begin has waited itself, and at least
// one thread block of every launch waits: the kernel after the next one counts on it.
#pragma once
#include "platform.cuh"

#if !defined(PHSA_EMULATION) && defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
/** Returns when the kernel before has ended; at once where the launch asked for no overlap. */
PHSA_DEVICE void waitForKernelBefore() { asm volatile("griddepcontrol.wait;\n" ::: "memory"); }
/** The next kernel may begin when all thread blocks have come here or ended. */
PHSA_DEVICE void letNextKernelBegin() { asm volatile("griddepcontrol.launch_dependents;\n" ::: "memory"); }
PHSA_DEVICE void bringLineToL2(const void* address) { asm volatile("prefetch.global.L2 [%0];\n" ::"l"(address)); }
#else
PHSA_DEVICE void waitForKernelBefore() {}
PHSA_DEVICE void letNextKernelBegin() {}
PHSA_DEVICE void bringLineToL2(const void*) {}
#endif

/** Begins to bring so many bytes to L2, to be read after the wait. */
template <int Bytes>
PHSA_DEVICE void bringToL2(const void* data) {
  constexpr int kLine = 128;
#pragma unroll
  for (int at = 0; at < Bytes; at += kLine) bringLineToL2(static_cast<const unsigned char*>(data) + at);
}
