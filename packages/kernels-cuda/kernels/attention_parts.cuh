// attention_parts.cuh: how the thread blocks of a KV head put together what each has of its attention: each sends each of the others a slice, and merges its own
// (decode_layers.cuh).
#pragma once
#include "layers_step.cuh"

/** Sends each part of the KV head its slice of this one's results. Places: [KV head, part that merges, pair, part]. */
template <typename S>
PHSA_DEVICE void giveParts(const LayersStep<S>& step) {
  const int index = threadIdx.x;
  if (index < S::kPairs) {
    const float2 values = step.shared.parts.mergedValues(index);
    const int place = (step.kvHead() * S::kPairs + index) * S::kParts + step.part();
    sendWords(step.params.exchange + S::kWordsOfParts + 2 * place, {__float_as_uint(values.x), __float_as_uint(values.y)}, step.tag);
  } else if (index < S::kPairs + S::kGroup) {
    const int head = index - S::kPairs;
    const float2 merged = step.shared.parts.mergedSums(head);
    const int place = (step.kvHead() * S::kGroup + head) * S::kParts + step.part();
    sendWords(step.params.exchange + S::kWordsOfSums + 2 * place, {__float_as_uint(merged.x), __float_as_uint(merged.y)}, step.tag);
  }
}

/** Merges this part's slice: a lane has one pair of one part. */
template <typename S>
PHSA_DEVICE void mergeParts(const LayersStep<S>& step) {
  if (static_cast<int>(threadIdx.x) >= S::kSlice * S::kParts) return;
  const int from = threadIdx.x % S::kParts;
  const int pair = step.part() * S::kSlice + static_cast<int>(threadIdx.x) / S::kParts;  // of the KV head
  const int head = pair / (kLayerDim / 2);
  const int value = (step.kvHead() * S::kPairs + pair) * S::kParts + from;
  const int sum = (step.kvHead() * S::kGroup + head) * S::kParts + from;
  const uint64_t* const places[2] = {step.params.exchange + S::kWordsOfParts + 2 * value, step.params.exchange + S::kWordsOfSums + 2 * sum};
  uint2 words[2];
  receiveWords(places, step.tag, words);
  __syncwarp();
  float largest = __uint_as_float(words[1].x);
#pragma unroll
  for (int offset = 1; offset < S::kParts; offset *= 2) largest = fmaxf(largest, __shfl_xor_sync(kWholeWarp, largest, offset));
  const float weight = shiftedExp2(__uint_as_float(words[1].x), largest);
  float total = weight * __uint_as_float(words[1].y);
  float2 values = {weight * __uint_as_float(words[0].x), weight * __uint_as_float(words[0].y)};
#pragma unroll
  for (int offset = 1; offset < S::kParts; offset *= 2) {
    total += __shfl_xor_sync(kWholeWarp, total, offset);
    values.x += __shfl_xor_sync(kWholeWarp, values.x, offset);
    values.y += __shfl_xor_sync(kWholeWarp, values.y, offset);
  }
  if (from == 0) {
    const float share = 1.0f / total;
    const int place = step.kvHead() * S::kPairs + pair;
    sendWord(step.params.exchange + S::kWordsOfAttended + place, roundToBf16(values.x * share, values.y * share), step.tag);
  }
}
