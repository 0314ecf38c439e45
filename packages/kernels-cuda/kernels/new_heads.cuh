// new_heads.cuh: queries, key and value of a step's token in shared memory, before the caches have them (decode_layers.cuh).
#pragma once
#include "layers_step.cuh"
#include "row_groups.cuh"

/** Norm and rotation of a head by a warp, into shared memory; of a value neither. */
template <typename S>
PHSA_DEVICE void takeHead(const LayersStep<S>& step, const LayerParams& layer, int index) {
  const bool isQuery = index < S::kGroup;
  const bool isValue = index > S::kGroup;
  const int head = isQuery ? step.kvHead() * S::kGroup + index : S::kHeads + (isValue ? S::kKvHeads : 0) + step.kvHead();
  const uint64_t* first = step.params.exchange + S::kWordsOfHeads + head * (kLayerDim / 2) + laneIndex();
  const uint64_t* const places[2] = {first, first + kLanes};
  uint32_t weights[2] = {};
  if (!isValue) {
    const uint32_t* norm = static_cast<const uint32_t*>(isQuery ? layer.qNorm : layer.kNorm) + laneIndex();
    weights[0] = norm[0];
    weights[1] = norm[kLanes];
  }
  uint32_t words[2];
  receiveWords(places, step.tag, words);
  uint32_t* target = reinterpret_cast<uint32_t*>(step.shared.heads[index]) + laneIndex();
  if (!isValue) {
    const auto low = [](uint32_t word) { return __uint_as_float(word << 16); };
    const auto high = [](uint32_t word) { return __uint_as_float(word & 0xffff0000u); };
    float2 a = {low(words[0]), high(words[0])};
    float2 b = {low(words[1]), high(words[1])};
    const float squares = warpSum(fmaf(a.x, a.x, fmaf(a.y, a.y, fmaf(b.x, b.x, b.y * b.y))));
    const float inverse = inverseRms(squares, kLayerDim, step.params.epsilon);
    a = {a.x * inverse * low(weights[0]), a.y * inverse * high(weights[0])};
    b = {b.x * inverse * low(weights[1]), b.y * inverse * high(weights[1])};
    words[0] = roundToBf16(a.x * step.token.cosines.x - b.x * step.token.sines.x, a.y * step.token.cosines.y - b.y * step.token.sines.y);
    words[1] = roundToBf16(b.x * step.token.cosines.x + a.x * step.token.sines.x, b.y * step.token.cosines.y + a.y * step.token.sines.y);
  }
  target[0] = words[0];
  target[kLanes] = words[1];
  __syncwarp();
}

/** The new key in the tile of its block. */
template <typename S>
PHSA_DEVICE void addNewKey(const LayersStep<S>& step, Run (&runs)[2], FetchedKeys<kLayerDim>& fetched) {
  const int offset = step.token.query.position % kTileKeys;
  const int g = laneIndex() / 4;
  const int c = laneIndex() % 4;
#pragma unroll
  for (int half = 0; half < 2; half++) {
    if (half != offset / kRun) continue;
    runs[half].valid = offset % kRun + 1;
    if (g == offset % kRun) {
#pragma unroll
      for (int j = 0; j < kLayerDim / 32; j++) fetched.keys[half][j] = step.shared.heads[S::kGroup][4 * j + c];
    }
#pragma unroll
    for (int i = 0; i < 2; i++) {
      if (2 * c + i != offset % kRun) continue;
#pragma unroll
      for (int part = 0; part < 2; part++) {
        const uint4 eight = step.shared.heads[S::kGroup + 1][8 * part + g];
        fetched.rows[half][i][4 * part] = eight.x;
        fetched.rows[half][i][4 * part + 1] = eight.y;
        fetched.rows[half][i][4 * part + 2] = eight.z;
        fetched.rows[half][i][4 * part + 3] = eight.w;
      }
    }
  }
}
