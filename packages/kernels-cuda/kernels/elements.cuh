// elements.cuh: element types, and rows of them in and out of f32 registers. All arithmetic is in f32; a store rounds once, to nearest even.
#pragma once
#include "platform.cuh"

struct bf16 {
  uint16_t bits;
};

PHSA_DEVICE float toFloat(float value) { return value; }

PHSA_DEVICE float toFloat(bf16 value) { return __uint_as_float(static_cast<uint32_t>(value.bits) << 16); }

template <typename T>
PHSA_DEVICE T fromFloat(float value);

template <>
PHSA_DEVICE float fromFloat<float>(float value) {
  return value;
}

template <>
PHSA_DEVICE bf16 fromFloat<bf16>(float value) {
#ifndef PHSA_EMULATION
  bf16 rounded;
  asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(rounded.bits) : "f"(value));
  return rounded;
#else
  const uint32_t bits = __float_as_uint(value);
  // A NaN must not be rounded up to infinity or round over to zero.
  if ((bits & 0x7fffffffu) > 0x7f800000u) return bf16{0x7fff};
  return bf16{static_cast<uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16)};
#endif
}

/** N consecutive elements, moved by one access of up to 16 bytes. */
template <typename T, int N>
struct alignas(sizeof(T) * N) Pack {
  T values[N];
};

/** Reads N elements; the address is a multiple of their size. */
template <int N, typename T>
PHSA_DEVICE void loadElements(const T* source, float (&values)[N]) {
  const Pack<T, N> pack = *reinterpret_cast<const Pack<T, N>*>(source);
#pragma unroll
  for (int i = 0; i < N; i++) values[i] = toFloat(pack.values[i]);
}

/** N elements, each rounded once. */
template <typename T, int N>
PHSA_DEVICE Pack<T, N> packElements(const float (&values)[N]) {
#ifndef PHSA_EMULATION
  // The hardware rounds two at a time.
  if constexpr (sizeof(T) == 2 && N % 2 == 0) {
    union {
      Pack<T, N> elements;
      uint32_t words[N / 2];
    } both;
#pragma unroll
    for (int i = 0; i < N; i += 2) asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(both.words[i / 2]) : "f"(values[i + 1]), "f"(values[i]));
    return both.elements;
  } else
#endif
  {
    Pack<T, N> pack;
#pragma unroll
    for (int i = 0; i < N; i++) pack.values[i] = fromFloat<T>(values[i]);
    return pack;
  }
}

/** Writes N elements, each rounded once. */
template <int N, typename T>
PHSA_DEVICE void storeElements(T* target, const float (&values)[N]) {
  *reinterpret_cast<Pack<T, N>*>(target) = packElements<T>(values);
}

/** Elements of one 16-byte access. */
template <typename T>
constexpr int kVector = 16 / sizeof(T);

/**
 * Adds to `sums` the inner products of a row of D elements with H rows of f32 in shared memory, one after the other along D: the order, and
 * so the rounding, depends on nothing but D.
 */
template <int D, int H, typename T>
PHSA_DEVICE void dotRows(const T* row, const float* others, float (&sums)[H]) {
  constexpr int N = kVector<T>;
#pragma unroll 4
  for (int d = 0; d < D; d += N) {
    float x[N];
    loadElements(row + d, x);
#pragma unroll
    for (int h = 0; h < H; h++) {
#pragma unroll
      for (int i = 0; i < N; i += 4) {
        const float4 y = *reinterpret_cast<const float4*>(others + h * D + d + i);
        sums[h] = fmaf(x[i], y.x, sums[h]);
        sums[h] = fmaf(x[i + 1], y.y, sums[h]);
        sums[h] = fmaf(x[i + 2], y.z, sums[h]);
        sums[h] = fmaf(x[i + 3], y.w, sums[h]);
      }
    }
  }
}
