// layer_attention.cuh: attention of a step's token in one layer, by the thread blocks of each KV head: new heads, choice, attention, and what the cache keeps
// (decode_layers.cuh; spec 1, 4, 5, 6).
//
// A warp has a tile of 16 keys. Where all tiles have a warp, also those that may be chosen, keys and values come before the query is known, and the choice only
// says which of them count. The choice is made by each thread block for itself: nobody waits for another one's.
#pragma once
#include "attention_parts.cuh"
#include "new_heads.cuh"
#include "seen_tiles.cuh"

template <typename S>
struct LayerAttention {
  static constexpr int kTileWarps = S::kParts * kLayerWarps;

  const LayersStep<S>& step;

  /** Of this warp; the next one is `kTileWarps` further. */
  PHSA_DEVICE int firstTile() const { return warpIndex() * S::kParts + step.part(); }

  PHSA_DEVICE AttendPagedParams attentionOf(const LayerParams& layer) const {
    AttendPagedParams call = {};
    call.k = layer.keyPages;
    call.v = layer.valuePages;
    call.sequences.pageTable = step.shared.pages;
    call.sequences.pagesPerSequence = step.params.pages;
    call.sequences.pageTokens = step.params.pageTokens;
    call.rules = {S::kHeads,         S::kKvHeads, kTileKeys, layer.initBlocks, layer.localBlocks, step.params.mostTopK, 1, 0,
                  step.params.score, 0.088388347648318447f /* 1 / sqrt(D) */};
    return call;
  }

  PHSA_DEVICE Sequences pages() const {
    Sequences sequences = {};
    sequences.pageTable = step.shared.pages;
    sequences.pageTokens = step.params.pageTokens;
    return sequences;
  }
  PHSA_DEVICE int64_t representativeOf(int block) const {
    return blockRow(pages(), 0, block, step.params.pageTokens / kTileKeys) * static_cast<int64_t>(S::kKvHeads) + step.kvHead();
  }
  PHSA_DEVICE int keyRowOf(int position) const { return static_cast<int>(keyRow(pages(), 0, position)); }

  /** Keys of a block that steps before have left: all but the new one. */
  PHSA_DEVICE void runsOf(int block, Run (&runs)[2]) const {
    const int row = keyRowOf(block * kTileKeys);
    const int valid = min(kTileKeys, step.token.query.position - block * kTileKeys);
#pragma unroll
    for (int half = 0; half < 2; half++) runs[half] = {row + kRun * half, max(0, min(kRun, valid - kRun * half))};
  }

  /** Begins to bring to L2 what attention of a layer reads. */
  PHSA_DEVICE void bring(const LayerParams& layer) const {
    const AttendPagedParams call = attentionOf(layer);
    const SeenTiles tiles(call.rules, step.token.query, kTileWarps);
    const int lane = laneIndex();
    if (firstTile() < tiles.known()) {
      const int64_t row = keyRowOf(tiles.block(firstTile()) * kTileKeys) + lane / 2;
      bringToL2<kLayerDim * 2>(static_cast<const bf16*>(lane % 2 == 0 ? call.k : call.v) + (row * S::kKvHeads + step.kvHead()) * kLayerDim);
    }
    const int complete = (step.token.query.position + 1) / kTileKeys;
    const int block = warpIndex() * 16 + lane / 2;
    if (step.part() == warpIndex() && tiles.found > 0 && block < complete) {
      bringLineToL2(layer.halfReps + representativeOf(block) * (kLayerDim / 2) + lane % 2 * kLanes);
    }
  }

  /** Whether a block is chosen, by a warp: how many of those that may be have a larger score. @param index among the candidates, at most 128 */
  PHSA_DEVICE bool isChosen(const StepChoice<kLayerDim>& choice, int index) const {
    constexpr int kOfLane = 4;
    const int count = choice.candidates.end - choice.candidates.start;
    float sums[kOfLane] = {};
    const bool isSoftmax = step.params.score == kSoftmax;
    float logs[S::kGroup];
#pragma unroll
    for (int head = 0; head < S::kGroup; head++) logs[head] = choice.logOf(head);
#pragma unroll
    for (int i = 0; i < kOfLane; i++) {
      const int other = laneIndex() + i * kLanes;
      if (other >= count) continue;
#pragma unroll
      for (int head = 0; head < S::kGroup; head++) {
        const float score = step.shared.scores[head][choice.candidates.start + other];
        sums[i] += isSoftmax ? exp2f(score - logs[head]) : score;
      }
      sums[i] = comparable(sums[i]);
    }
    float own = 0.0f;
#pragma unroll
    for (int i = 0; i < kOfLane; i++) {
      const float value = __shfl_sync(kWholeWarp, sums[i], index % kLanes);
      if (i == index / kLanes) own = value;
    }
    int rank = 0;
#pragma unroll
    for (int i = 0; i < kOfLane; i++) {
      const int other = laneIndex() + i * kLanes;
      rank += __popc(__ballot_sync(kWholeWarp, other < count && (sums[i] > own || (sums[i] == own && other < index))));
    }
    return rank < choice.found;
  }

  PHSA_DEVICE void attend(const LayerParams& layer) const {
    const AttendPagedParams call = attentionOf(layer);
    const bf16* k = static_cast<const bf16*>(call.k);
    const bf16* v = static_cast<const bf16*>(call.v);
    const SeenTiles tiles(call.rules, step.token.query, kTileWarps);
    const StepChoice<kLayerDim> choice(call, layer.halfReps, step.shared.choice, step.shared.scores[0], kMostContextBlocks, step.token.query,
                                       step.kvHead());
    const int position = step.token.query.position;
    const int newBlock = position / kTileKeys;
    const int warp = warpIndex();
    const bool isKeyWarp = warp == S::kGroup;
    const bool keeps = isKeyWarp && step.part() == S::kParts - 1;

    // Everything that does not depend on the query.
    FetchedKeys<kLayerDim> fetched;
    Run runs[2] = {};
    const int known = tiles.known();
    const int tile = firstTile();
    if (tile < known) {
      runsOf(tiles.block(tile), runs);
      fetched.load(runs, k, v, S::kKvHeads, step.kvHead());
    }
    uint4 rows[2][kLayerDim / 32];
    const bool chooses = !choice.isGiven();
    if (chooses) choice.load(warp, rows);
    BlockSums<bf16, kLayerDim> sums;
    const int64_t stored = isKeyWarp ? representativeOf(newBlock) : 0;
    AppendParams tokens = {};
    tokens.reps = layer.reps;
    tokens.markedSums = layer.markedSums;
    tokens.marked = layer.marked;
    float share = 0.0f;
    const bool sumsUp = keeps || (isKeyWarp && step.token.endsBlock());
    if (sumsUp) {
      if (position % kTileKeys != 0) sums.load(tokens, stored);
      share = layer.lambda[step.kvHead()];
    }

    if (warp < S::kGroup + 2) takeHead(step, layer, warp);
    if (sumsUp) {
      float key[kLayerDim / kLanes];
      loadElements(reinterpret_cast<const bf16*>(step.shared.heads[S::kGroup]) + laneIndex() * (kLayerDim / kLanes), key);
      sums.add(key, step.token.mark);
      if (step.token.endsBlock()) {
        sums.finish(share, kTileKeys);
        sums.storeHalves(reinterpret_cast<uint32_t*>(step.shared.choice.fresh));
      }
    }
    __syncthreads();
    PagedAttention<kLayerDim, 1, kLayerWarps> attention(call, step.kvHead(), reinterpret_cast<const bf16*>(step.shared.heads));
    if (chooses) choice.score(rows, attention.queries[0]);
    for (int at = tile; at < known; at += kTileWarps) {
      if (at != tile) {
        runsOf(tiles.block(at), runs);
        fetched.load(runs, k, v, S::kKvHeads, step.kvHead());
      }
      if (tiles.block(at) == newBlock) addNewKey(step, runs, fetched);
      attention.add(runs, fetched);
    }
    if (chooses) {
      __syncthreads();
      if (tiles.isMasked) {
        if (tile >= tiles.forced && tile < known && !isChosen(choice, tile - tiles.forced)) attention.forget();
      } else {
        const int* chosen = choice.choose();
        int at = tile;
        while (at < tiles.forced) at += kTileWarps;
        for (; at < tiles.forced + tiles.found; at += kTileWarps) {
          runsOf(chosen[at - tiles.forced], runs);
          fetched.load(runs, k, v, S::kKvHeads, step.kvHead());
          attention.add(runs, fetched);
        }
      }
    }
    attention.leave(step.shared.parts);
    __syncthreads();
    giveParts(step);
    mergeParts(step);
    if (keeps) {
      // All parts of the KV head have read the sums: they have sent what they made of them.
      const int64_t slot = (keyRowOf(position) * static_cast<int64_t>(S::kKvHeads) + step.kvHead()) * kLanes + laneIndex();
      static_cast<uint2*>(layer.keyPages)[slot] = reinterpret_cast<const uint2*>(step.shared.heads[S::kGroup])[laneIndex()];
      static_cast<uint2*>(layer.valuePages)[slot] = reinterpret_cast<const uint2*>(step.shared.heads[S::kGroup + 1])[laneIndex()];
      sums.store(tokens, stored);
      if (step.token.endsBlock() && layer.halfReps != nullptr) sums.storeHalves(layer.halfReps + stored * (kLayerDim / 2));
    }
  }
};
