// platform.cuh: what every kernel file starts with.
//
// A kernel takes one struct by value: 8-byte members first, then 4-byte ones, so that it packs without holes; the host packs the same fields in
// the same order. The emulation of the tests brings its own forms of these macros and runs the same sources on the host.
#pragma once

#ifndef PHSA_EMULATION
#include <cstdint>
#include <math_constants.h>

#define PHSA_DEVICE __device__ __forceinline__

/** Dynamic shared memory of the launch, aligned for 16-byte accesses. */
#define PHSA_DYNAMIC_SHARED(NAME) extern __shared__ __align__(16) unsigned char NAME[]

/** A kernel NAME(PARAMS) of THREADS threads a block; the rest names the function that does the work. */
#define PHSA_KERNEL(NAME, PARAMS, THREADS, ...)                                                              \
  extern "C" __global__ void __launch_bounds__(THREADS) NAME(const __grid_constant__ PARAMS params) {        \
    __VA_ARGS__(params);                                                                                     \
  }

/** The same, for at least BLOCKS thread blocks a multiprocessor at once: so many registers each may have. */
#define PHSA_KERNEL_AT_ONCE(NAME, PARAMS, THREADS, BLOCKS, ...)                                              \
  extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS) NAME(const __grid_constant__ PARAMS params) { \
    __VA_ARGS__(params);                                                                                     \
  }
#endif

/** INSTANCE(suffix, element type, head dimension) for all that are compiled. */
#define PHSA_FOR_EACH_TYPE(INSTANCE) \
  INSTANCE(f32_d32, float, 32)       \
  INSTANCE(f32_d64, float, 64)       \
  INSTANCE(f32_d128, float, 128)     \
  INSTANCE(bf16_d32, bf16, 32)       \
  INSTANCE(bf16_d64, bf16, 64)       \
  INSTANCE(bf16_d128, bf16, 128)

/** The same with the query heads that a warp works on at once: INSTANCE(suffix, element type, head dimension, heads). */
#define PHSA_FOR_EACH_TYPE_AND_HEADS(INSTANCE)                                                              \
  INSTANCE(f32_d32_h1, float, 32, 1) INSTANCE(f32_d32_h2, float, 32, 2) INSTANCE(f32_d32_h4, float, 32, 4)        \
  INSTANCE(f32_d64_h1, float, 64, 1) INSTANCE(f32_d64_h2, float, 64, 2) INSTANCE(f32_d64_h4, float, 64, 4)        \
  INSTANCE(f32_d128_h1, float, 128, 1) INSTANCE(f32_d128_h2, float, 128, 2) INSTANCE(f32_d128_h4, float, 128, 4)  \
  INSTANCE(bf16_d32_h1, bf16, 32, 1) INSTANCE(bf16_d32_h2, bf16, 32, 2) INSTANCE(bf16_d32_h4, bf16, 32, 4)        \
  INSTANCE(bf16_d64_h1, bf16, 64, 1) INSTANCE(bf16_d64_h2, bf16, 64, 2) INSTANCE(bf16_d64_h4, bf16, 64, 4)        \
  INSTANCE(bf16_d128_h1, bf16, 128, 1) INSTANCE(bf16_d128_h2, bf16, 128, 2) INSTANCE(bf16_d128_h4, bf16, 128, 4)
