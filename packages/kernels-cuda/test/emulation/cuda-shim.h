// cuda-shim.h: what of CUDA C++ the baseline kernels use, for a host compiler. The sources of kernels/ are compiled after it as they are.
//
// A thread of a block is a fiber; barriers and shuffles hand over to the next one (fibers.cpp). Shared memory is static, because one
// block runs at a time. No inline PTX, no intrinsics beyond these: kernels that need more are not emulated.
#pragma once
#define PHSA_EMULATION

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>

#define __device__
#define __forceinline__ inline
#define __shared__ static

#define PHSA_DEVICE inline
#define PHSA_DYNAMIC_SHARED(NAME) unsigned char* NAME = emulation::dynamicShared()
#define PHSA_KERNEL(NAME, PARAMS, THREADS, ...)                                              \
  static void NAME(const void* params) { __VA_ARGS__(*static_cast<const PARAMS*>(params)); } \
  static const emulation::Registration registration_##NAME(#NAME, NAME, sizeof(PARAMS), THREADS);

namespace emulation {

using Kernel = void (*)(const void* params);

/** Makes a kernel known by its name. */
struct Registration {
  Registration(const char* name, Kernel kernel, size_t paramsBytes, int threads);
};

unsigned char* dynamicShared();

enum class Barrier { kBlock, kWarp, kShuffle, kBallot };

/** Hands over until all threads of the block, or lanes of the warp, have come to the same kind of barrier. */
void wait(Barrier barrier);

/** What the lanes of the running warp bring to a shuffle or ballot. A new one each time, so that nobody overwrites what others still read. */
uint64_t* exchangeSlots();
int lane();

template <typename T>
T shuffle(T value, int source) {
  static_assert(sizeof(T) <= sizeof(uint64_t));
  uint64_t* slots = exchangeSlots();
  std::memcpy(&slots[lane()], &value, sizeof(T));
  wait(Barrier::kShuffle);
  T result;
  std::memcpy(&result, &slots[source], sizeof(T));
  return result;
}

}  // namespace emulation

struct dim3 {
  unsigned x, y, z;
};
extern dim3 threadIdx, blockIdx, blockDim, gridDim;

struct alignas(16) float4 {
  float x, y, z, w;
};

using std::max;
using std::min;

inline float __uint_as_float(uint32_t bits) {
  float value;
  std::memcpy(&value, &bits, sizeof(value));
  return value;
}

inline uint32_t __float_as_uint(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof(bits));
  return bits;
}

inline float __fmul_rn(float a, float b) { return a * b; }

inline int __popc(unsigned value) { return __builtin_popcount(value); }

inline int __ffs(int value) { return __builtin_ffs(value); }

inline void __syncthreads() { emulation::wait(emulation::Barrier::kBlock); }

inline void __syncwarp() { emulation::wait(emulation::Barrier::kWarp); }

template <typename T>
T __shfl_sync(unsigned, T value, int source) {
  return emulation::shuffle(value, source % 32);
}

template <typename T>
T __shfl_xor_sync(unsigned, T value, int mask) {
  return emulation::shuffle(value, emulation::lane() ^ mask);
}

template <typename T>
T __shfl_up_sync(unsigned, T value, int offset) {
  const int lane = emulation::lane();
  return emulation::shuffle(value, lane >= offset ? lane - offset : lane);
}

inline unsigned __ballot_sync(unsigned, bool predicate) {
  uint64_t* slots = emulation::exchangeSlots();
  slots[emulation::lane()] = predicate;
  emulation::wait(emulation::Barrier::kBallot);
  unsigned ballot = 0;
  for (int lane = 0; lane < 32; lane++) ballot |= static_cast<unsigned>(slots[lane]) << lane;
  return ballot;
}
