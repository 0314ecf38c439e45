// memory.cu: conversion between element types, the part of `Memory.copy` that the driver's own copies cannot do.
//
// Each thread converts elements a whole grid apart, so that neighbours read and write neighbouring addresses; bound by memory.
// Numerics: f32 to bf16 rounds once to nearest, ties to even; bf16 to f32 is exact.
#include "elements.cuh"

struct ConvertParams {
  const void* source;
  void* target;
  int64_t count;
};

template <typename Source, typename Target>
PHSA_DEVICE void convert(const ConvertParams& params) {
  const Source* source = static_cast<const Source*>(params.source);
  Target* target = static_cast<Target*>(params.target);
  const int64_t stride = static_cast<int64_t>(gridDim.x) * blockDim.x;
  for (int64_t index = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; index < params.count; index += stride) {
    target[index] = fromFloat<Target>(toFloat(source[index]));
  }
}

PHSA_KERNEL(convert_f32_bf16, ConvertParams, 256, convert<float, bf16>)
PHSA_KERNEL(convert_bf16_f32, ConvertParams, 256, convert<bf16, float>)
