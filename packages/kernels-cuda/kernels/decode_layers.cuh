// decode_layers.cuh: all layers of a step of decoding for one token, by one launch that stays on the GPU from the first layer to the last (spec 1, 4, 5, 6).
//
// kTeam thread blocks, a multiprocessor each, all of which must run at once. A layer has five products or merges whose results everybody needs; they go from
// block to block as tagged words. Weights do not depend on anything: each block's share is on its way into shared memory up to twelve chunks ahead, while results
// travel. Heads, norms and the residual sum need no launch and no trip of their own: who owns eight columns of the residual keeps them in registers.
// Numerics as in few_rows.cu, heads_rope.cu and decode_step.cuh. Bound: trips to L2 and back, about six a layer; bytes of the weights at 4.2 TB/s.
#pragma once
#include "layer_attention.cuh"
#include "layer_products.cuh"

template <typename S>
struct DecodeLayers {
  /** Columns of the residual that a thread block owns. */
  static constexpr int kColumns = S::kOutTiles * kChunkRows;
  static_assert(kColumns <= kLanes);

  // Others' objects: one that referred to parts of itself would lie in memory and not in registers.
  LayersStep<S>& step;
  LayerProducts<S>& products;
  const LayerAttention<S>& attention;
  float residual = 0.0f;  // of this lane's column of x, in the first warp

  /** Sends numbers, neighbours in a word; all lanes of the warp take part. @param first place of the first number's word @param used whether this lane has one */
  PHSA_DEVICE void sendRounded(int first, int index, bool used, float value) const {
    const float next = __shfl_xor_sync(kWholeWarp, value, 1);
    if (used && index % 2 == 0) sendWord(step.params.exchange + first + index / 2, roundToBf16(value, next), step.tag);
  }

  /** Queries, keys and values before norm and rotation. */
  PHSA_DEVICE void projectHeads(const LayerParams& layer, bool isFirst) {
    uint2 norm[S::kWidthChunks];
    uint2 words[S::kWidthChunks];
    products.load(layer.norm, norm);
    if (isFirst) {
      products.load(step.params.x, words);
    } else {
      products.receive(S::kWordsOfX, words);
      step.tag++;
    }
    products.weigh(words, norm);
    products.template multiply<S::kHeadTiles>(products.shareOf(words));
    constexpr int kRows = S::kHeadTiles * kChunkRows;
    static_assert(kRows % 2 == 0 && kRows <= kLayerThreads);
    if (warpIndex() * kLanes < kRows) {
      const int row = threadIdx.x;
      const bool used = row < kRows;
      const float value = used ? products.sumOfRow(row) * products.inverse() : 0.0f;
      sendRounded(S::kWordsOfHeads, blockIdx.x * kRows + row, used, value);
    }
    products.end(S::kHeadChunks);
  }

  /** Projected attention, or what the inner product gives, plus the residual. */
  template <int Chunks>
  PHSA_DEVICE void addToResidual(int from, int to, bool isLast) {
    uint2 words[Chunks];
    products.receive(from, words);
    products.template multiply<S::kOutTiles>(products.shareOf(words));
    if (warpIndex() == 0) {
      const int row = laneIndex();
      const bool used = row < kColumns;
      const float value = used ? residual + products.sumOfRow(row) : 0.0f;
      const float next = __shfl_xor_sync(kWholeWarp, value, 1);
      const uint32_t word = roundToBf16(row % 2 == 0 ? value : next, row % 2 == 0 ? next : value);
      residual = __uint_as_float(row % 2 == 0 ? word << 16 : word & 0xffff0000u);
      const int place = (blockIdx.x * kColumns + row) / 2;
      if (used && row % 2 == 0) {
        if (isLast) static_cast<uint32_t*>(step.params.y)[place] = word;
        else sendWord(step.params.exchange + to + place, word, step.tag);
      }
    }
    products.end(S::kOutTiles * Chunks);
  }

  /** silu(gate) * up. */
  PHSA_DEVICE void gate(const LayerParams& layer) {
    uint2 norm[S::kWidthChunks];
    uint2 words[S::kWidthChunks];
    products.load(layer.postNorm, norm);
    products.receive(S::kWordsOfMiddle, words);
    products.weigh(words, norm);
    products.template multiply<2 * S::kInnerTiles>(products.shareOf(words));
    constexpr int kRows = S::kInnerTiles * kChunkRows;
    static_assert(kRows <= kLanes);
    if (warpIndex() == 0) {
      const int row = laneIndex();
      const bool used = row < kRows;
      float value = 0.0f;
      if (used) {
        const int first = row / kChunkRows * 2 * kChunkRows + row % kChunkRows;
        const float factor = products.inverse();
        const float gate = products.sumOfRow(first) * factor;
        value = gate / (1.0f + expf(-gate)) * (products.sumOfRow(first + kChunkRows) * factor);
      }
      sendRounded(S::kWordsOfInner, blockIdx.x * kRows + row, used, value);
    }
    products.end(S::kGateChunks);
  }

  PHSA_DEVICE void run() {
    const DecodeLayersParams& params = step.params;
    for (int page = threadIdx.x; page < params.pages; page += kLayerThreads) step.shared.pages[page] = params.pageTable[page];
    if (threadIdx.x == 0) products.ring.init();
    step.token.query = {0, params.keyLengths[0] - 1, min(params.topK[0], params.mostTopK), params.denseBelow[0]};
    step.token.mark = params.marks[0];
    const int angles = params.positions[0] * (kLayerDim / 2) + 2 * laneIndex();
    step.token.cosines = *reinterpret_cast<const float2*>(params.cos + angles);
    step.token.sines = *reinterpret_cast<const float2*>(params.sin + angles);
    if (laneIndex() < kColumns) residual = toFloat(static_cast<const bf16*>(params.x)[blockIdx.x * kColumns + laneIndex()]);
    const uint32_t last = static_cast<uint32_t>(lookAt(params.exchange));
    step.tag = last + 1;
    __syncthreads();
    products.beginCopies(kSlots);
    attention.bring(params.layers[0]);
    for (int index = 0; index < params.layersUsed; index++) {
      const LayerParams& layer = params.layers[index];
      const bool isLast = index + 1 == params.layersUsed;
      projectHeads(layer, index == 0);
      attention.attend(layer);
      addToResidual<S::kAttendedChunks>(S::kWordsOfAttended, S::kWordsOfMiddle, false);
      gate(layer);
      if (!isLast) attention.bring(params.layers[index + 1]);
      addToResidual<S::kInnerChunks>(S::kWordsOfInner, S::kWordsOfX, isLast);
    }
    // Everybody has read it: nothing of the last layer could be there otherwise.
    if (blockIdx.x == 0 && threadIdx.x == 0) *params.exchange = last + params.layersUsed;
  }
};

template <typename S>
PHSA_DEVICE void decodeLayers(const DecodeLayersParams& params) {
  PHSA_DYNAMIC_SHARED(memory);
  constexpr int kColumns = DecodeLayers<S>::kColumns;
  if (params.queryStarts[1] == params.queryStarts[0]) {
    // No token: a row of zeros, and nothing in the cache.
    if (threadIdx.x < kColumns) static_cast<bf16*>(params.y)[blockIdx.x * kColumns + threadIdx.x] = bf16{0};
    return;
  }
  LayersStep<S> step(params, *reinterpret_cast<LayersShared<S>*>(memory));
  LayerProducts<S> products(step, memory + sizeof(LayersShared<S>));
  const LayerAttention<S> attention{step};
  DecodeLayers<S>{step, products, attention}.run();
}
