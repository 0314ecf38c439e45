// selected_gradient_sums.cuh: the gradients of 16 keys as a warp holds them, for the kernels that walk lists (selected_gradient_sm90.cu) and those that cut and
// join them (selected_gradient_pieces_sm90.cu): which keys they are, and how their sums are stored and added up.
#pragma once
#include "hopper.cuh"
#include "sequences.cuh"
#include "warp.cuh"

struct SelectedGradientParams {
  const void* q;        // bf16 [Tq, Hq, 128]
  const void* k;        // bf16 [Tk, Hkv, 128]
  const void* v;
  const float* lse;     // [Tq, Hq]
  const float* delta;   // [Tq, Hq]
  const void* dOut;     // bf16 [Tq, Hq, 128]
  const int* starts;    // [Hkv, blocks + 1]: lists within the entries of a KV head
  const int* entries;   // [Hkv, Tq * topK]: row * topK + slot, ascending within a list
  float* dkSums;        // [Tk, Hkv, 128]: what was summed before, the forced part at first
  float* dvSums;
  void* dk;             // bf16 [Tk, Hkv, 128], written where `last`
  void* dv;
  void* dqPartial;      // bf16 [kvHeads, rows, topK, G, 128] of the slab, defined where selected
  int* counters;        // [1 + kvHeads], zero beforehand: items taken, later pieces of a KV head
  int* lists;           // [kvHeads, blocks, 4]: first entry, entries, first of its later pieces, their number
  int* pieces;          // [kvHeads, headPieces, 2]: the later pieces: list, piece from 1
  float* partials;      // [kvHeads, headPieces, m / 16, 2, 16, 32, 4]: their dK and dV as the lanes hold them
  Sequences sequences;
  Rules rules;
  int firstRow;         // the slab
  int rows;
  int firstKvHead;
  int kvHeads;
  int last;             // whether no slab with other rows follows
  int pieceEntries;
  int headPieces;       // later pieces of a KV head at most: rows * topK / pieceEntries
  int reserved;
};

constexpr int kHeadDim = 128;

/** Where the 16 keys of a warp are. */
struct KeySlice {
  int kvHead;
  int sequence;  // S for no block, or one of none
  int firstKey;  // position
  int keys;      // of the 16 that exist
  int64_t row;   // of the first in k and v
};

PHSA_DEVICE KeySlice keySlice(const SelectedGradientParams& params, int list, int slice) {
  const Sequences& sequences = params.sequences;
  KeySlice keys;
  keys.sequence = sequences.sequences;
  if (list < 0) return keys;
  const int block = list % sequences.blocks;
  keys.kvHead = params.firstKvHead + list / sequences.blocks;
  keys.sequence = lastStartAtMost(sequences.blockStarts, sequences.sequences + 1, block);
  if (keys.sequence == sequences.sequences) return keys;
  keys.firstKey = (block - sequences.blockStarts[keys.sequence]) * params.rules.blockSize + slice * 16;
  keys.keys = max(0, min(16, keyCount(sequences, keys.sequence) - keys.firstKey));
  keys.row = static_cast<int64_t>(sequences.keyStarts[keys.sequence]) + keys.firstKey;
  return keys;
}

/** Adds a warp's sums to those of before, in f32 or, where they are `final`, to bf16. */
PHSA_DEVICE void addSums(float* before, void* target, const KeySlice& keys, int kvHeads, bool final, const float (&sums)[16][4]) {
  const int lane = laneIndex();
#pragma unroll
  for (int half = 0; half < 2; half++) {
    const int key = lane / 4 + half * 8;
    if (key >= keys.keys) continue;
    const int64_t row = ((keys.row + key) * kvHeads + keys.kvHead) * kHeadDim + lane % 4 * 2;
    // All on their way before the first is needed.
    float2 total[16];
#pragma unroll
    for (int n = 0; n < 16; n++) total[n] = *reinterpret_cast<const float2*>(before + row + n * 8);
#pragma unroll
    for (int n = 0; n < 16; n++) {
      total[n].x += sums[n][2 * half];
      total[n].y += sums[n][2 * half + 1];
      if (final) {
        *reinterpret_cast<uint32_t*>(static_cast<uint16_t*>(target) + row + n * 8) = packBf16(total[n].x, total[n].y);
      } else {
        *reinterpret_cast<float2*>(before + row + n * 8) = total[n];
      }
    }
  }
}

PHSA_DEVICE float4* partialOf(const SelectedGradientParams& params, int slices, int piece, int slice, int which) {
  return reinterpret_cast<float4*>(params.partials) + ((static_cast<int64_t>(piece) * slices + slice) * 2 + which) * 16 * kLanes + laneIndex();
}
