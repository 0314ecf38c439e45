// seen_tiles.cuh: which tiles of keys a token attends to, a block each, numbered: those that are seen in any case, then those that may be chosen
// (decode_layers.cuh; spec 4).
#pragma once
#include "layer_shape.cuh"
#include "sequences.cuh"

struct SeenTiles {
  int init;         // tiles from the first token on
  int localStart;   // block
  int forced;       // tiles that are seen in any case
  BlockRange candidates;
  int found;        // how many are chosen
  bool isMasked;    // all that may be chosen have tiles, and the choice says which of them count

  /** @param warps that have a tile each */
  PHSA_DEVICE SeenTiles(const Rules& rules, const Query& query, int warps) {
    const int blocks = query.position / kTileKeys + 1;
    const bool isDense = query.position < query.denseBelow;
    candidates = candidateBlocks(rules, query.position, query.denseBelow);
    init = isDense ? 0 : min(rules.initBlocks, blocks);
    localStart = isDense ? 0 : candidates.end;
    forced = init + max(0, blocks - localStart);
    const int count = candidates.end - candidates.start;
    found = min(query.topK, count);
    isMasked = found > 0 && (found == count || forced + count <= warps);
  }

  /** Tiles whose blocks are known before the choice. */
  PHSA_DEVICE int known() const { return isMasked ? forced + candidates.end - candidates.start : forced; }
  PHSA_DEVICE int block(int tile) const {
    return tile < init ? tile : tile < forced ? localStart + tile - init : candidates.start + tile - forced;
  }
};
