// layers_step.cuh: what all phases of a step through the layers share within a thread block (decode_layers.cuh).
#pragma once
#include "decode_step.cuh"
#include "layer_shape.cuh"
#include "tagged_words.cuh"

template <typename S>
struct alignas(16) LayersShared {
  WarpParts<kLayerDim, 1, kLayerWarps, S::kGroup> parts;
  StepChoiceShared<kLayerDim> choice;
  float scores[S::kGroup][kMostContextBlocks];
  uint4 heads[S::kGroup + 2][kLayerDim / 8];  // queries, key and value of the KV head, bf16
  uint4 x[kLayerWarps][S::kMostChunks][kWarpDepth / 8];
  // By turns, so that a product may begin while the sums of the one before are added up.
  float partials[2][S::kMostTiles * kChunkRows][kLayerWarps];
  float squares[2][kLayerWarps];
  int pages[kMostContextBlocks];
  uint64_t whole[kSlots];
};

/** The token of the step, as all layers see it. */
struct StepToken {
  Query query;
  float mark;
  float2 cosines;  // of this lane's two pairs of dimensions
  float2 sines;

  PHSA_DEVICE bool endsBlock() const { return (query.position + 1) % kTileKeys == 0; }
};

template <typename S>
struct LayersStep {
  const DecodeLayersParams& params;
  LayersShared<S>& shared;
  StepToken token;
  /** Of this layer's words: another one in each layer, and in each step. */
  uint32_t tag;

  PHSA_DEVICE LayersStep(const DecodeLayersParams& given, LayersShared<S>& memory) : params(given), shared(memory) {}

  /** Whose keys this thread block attends to, and which part of them. */
  PHSA_DEVICE int kvHead() const { return blockIdx.x / S::kParts; }
  PHSA_DEVICE int part() const { return blockIdx.x % S::kParts; }
};
