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
#define PHSA_KERNEL_AT_ONCE(NAME, PARAMS, THREADS, BLOCKS, ...) PHSA_KERNEL(NAME, PARAMS, THREADS, __VA_ARGS__)

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

/** Hands over until the other blocks of a launch that runs them all at once have come further. @param isNew whether this thread did so itself since it was here last */
void pause(bool isNew);

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

struct alignas(8) float2 {
  float x, y;
};

struct alignas(16) float4 {
  float x, y, z, w;
};

struct alignas(8) uint2 {
  uint32_t x, y;
};

struct alignas(16) uint4 {
  uint32_t x, y, z, w;
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

// One thread of the host runs all fibers: what one writes the others see.
inline void __threadfence() {}

template <typename T>
T atomicAdd(T* target, T value) {
  const T before = *target;
  *target += value;
  return before;
}

template <typename T>
T atomicMin(T* target, T value) {
  const T before = *target;
  *target = min(before, value);
  return before;
}

template <typename T>
T atomicMax(T* target, T value) {
  const T before = *target;
  *target = max(before, value);
  return before;
}

template <typename T>
T __ldcg(const T* source) {
  return *source;
}

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

// What products.cuh has of tensor cores: a lane brings its part of the operands and takes what its part of the result needs.

namespace emulation {

inline float fromHalf(uint16_t bits) {
  _Float16 value;
  std::memcpy(&value, &bits, sizeof(value));
  return static_cast<float>(value);
}

inline uint32_t toHalf(float value) {
  const _Float16 half = static_cast<_Float16>(value);
  uint16_t bits;
  std::memcpy(&bits, &half, sizeof(bits));
  return bits;
}

inline float fromBf16(uint16_t bits) { return __uint_as_float(static_cast<uint32_t>(bits) << 16); }

inline uint32_t toBf16(float value) {
  const uint32_t bits = __float_as_uint(value);
  return value != value ? 0x7fff : (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
}

/** What the lanes bring, two words each. */
struct Exchange {
  const uint64_t* slots;

  Exchange(uint32_t first, uint32_t second) {
    uint64_t* own = exchangeSlots();
    own[lane()] = first | static_cast<uint64_t>(second) << 32;
    wait(Barrier::kShuffle);
    slots = own;
  }

  /** Half `half` of word `word` that a lane has brought. */
  uint16_t half(int source, int word, int half) const { return static_cast<uint16_t>(slots[source] >> (32 * word + 16 * half)); }
};

template <typename ToFloat>
void multiply(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1, ToFloat toFloat) {
  const int row = lane() / 4;
  const int column = lane() % 4 * 2;
  float rows[2][16];
  for (int word = 0; word < 2; word++) {
    const Exchange left(a[2 * word], a[2 * word + 1]);
    for (int k = 0; k < 8; k++) {
      for (int i = 0; i < 2; i++) rows[i][8 * word + k] = toFloat(left.half(row * 4 + k / 2, i, k % 2));
    }
  }
  const Exchange right(b0, b1);
  for (int k = 0; k < 16; k++) {
    for (int j = 0; j < 2; j++) {
      const float factor = toFloat(right.half((column + j) * 4 + k % 8 / 2, k / 8, k % 2));
      for (int i = 0; i < 2; i++) d[2 * i + j] += rows[i][k] * factor;
    }
  }
}

}  // namespace emulation

inline void multiplyHalf(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) { emulation::multiply(d, a, b0, b1, emulation::fromHalf); }

inline void multiplyBf16(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) { emulation::multiply(d, a, b0, b1, emulation::fromBf16); }

inline uint32_t transpose(uint32_t pair) {
  const int row = emulation::lane() / 4;
  const int column = emulation::lane() % 4 * 2;
  const uint32_t first = emulation::shuffle(pair, column * 4 + row / 2) >> row % 2 * 16 & 0xffff;
  const uint32_t second = emulation::shuffle(pair, (column + 1) * 4 + row / 2) >> row % 2 * 16 & 0xffff;
  return first | second << 16;
}

inline uint32_t roundToHalves(float low, float high) { return emulation::toHalf(low) | emulation::toHalf(high) << 16; }

inline uint32_t roundToBf16(float low, float high) { return emulation::toBf16(low) | emulation::toBf16(high) << 16; }

inline uint32_t lowHalves(uint32_t first, uint32_t second) { return (first & 0xffff) | second << 16; }

inline uint32_t highHalves(uint32_t first, uint32_t second) { return first >> 16 | (second & 0xffff0000u); }

// What operand_loads.cuh has: copies are done when they begin.

namespace emulation {

template <bool Transposed>
void loadMatrices(uint32_t (&matrices)[4], const void* row) {
  uint64_t* rows = exchangeSlots();
  rows[lane()] = reinterpret_cast<uint64_t>(row);
  wait(Barrier::kShuffle);
  const int i = lane() / 4;
  const int j = lane() % 4 * 2;
  for (int m = 0; m < 4; m++) {
    const auto at = [&](int r, int c) { return static_cast<uint32_t>(reinterpret_cast<const uint16_t*>(rows[8 * m + r])[c]); };
    matrices[m] = Transposed ? at(j, i) | at(j + 1, i) << 16 : at(i, j) | at(i, j + 1) << 16;
  }
}

}  // namespace emulation

inline void loadMatrices(uint32_t (&matrices)[4], const void* row) { emulation::loadMatrices<false>(matrices, row); }

inline void loadMatricesTransposed(uint32_t (&matrices)[4], const void* row) { emulation::loadMatrices<true>(matrices, row); }

inline void beginCopy(void* target, const void* source, int bytes) {
  std::memset(target, 0, 16);
  if (bytes > 0) std::memcpy(target, source, bytes);
}

inline void endCopies() {}

template <int N>
void waitForCopies() {}

// What tagged_words.cuh has: words between blocks that run at once.

inline void sendWord(uint64_t* place, uint32_t word, uint32_t tag) { *place = static_cast<uint64_t>(tag) << 32 | word; }

inline void sendWords(uint64_t* places, uint2 words, uint32_t tag) {
  sendWord(places, words.x, tag);
  sendWord(places + 1, words.y, tag);
}

inline uint64_t lookAt(const uint64_t* place) { return *place; }

struct TwoPlaces {
  uint64_t first;
  uint64_t second;
};
inline TwoPlaces lookAtTwo(const uint64_t* places) { return {places[0], places[1]}; }

struct Patience {
  bool isNew = true;
  void wait() {
    emulation::pause(isNew);
    isNew = false;
  }
};

// What weight_ring.cuh has of bulk copies, which are done when they begin, and of the barriers that count their bytes: phases that have ended, and bytes to come.

namespace emulation {

struct ByteBarrier {
  uint32_t phases;
  int32_t bytes;
};

inline ByteBarrier& byteBarrier(uint64_t address) { return *reinterpret_cast<ByteBarrier*>(address); }

}  // namespace emulation

inline uint64_t sharedAddress(const void* pointer) { return reinterpret_cast<uint64_t>(pointer); }

inline void fenceAsyncProxy() {}

inline void initBarrier(uint64_t barrier, int) { emulation::byteBarrier(barrier) = {0, 0}; }

inline void expectBytes(uint64_t barrier, int bytes) { emulation::byteBarrier(barrier).bytes += bytes; }

inline void waitForPhase(uint64_t barrier, unsigned parity) {
  for (Patience patience; emulation::byteBarrier(barrier).phases % 2 == parity;) patience.wait();
}

inline void copyBulk(uint64_t target, const void* source, int bytes, uint64_t barrier) {
  std::memcpy(reinterpret_cast<void*>(target), source, bytes);
  emulation::ByteBarrier& own = emulation::byteBarrier(barrier);
  own.bytes -= bytes;
  own.phases += own.bytes == 0;
}
