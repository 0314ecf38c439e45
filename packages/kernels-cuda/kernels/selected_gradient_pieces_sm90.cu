// selected_gradient_pieces_sm90.cu: cuts the lists of selected_gradient_sm90.cu into pieces, and adds up what these gave, in order (spec 5). Deterministic.
// Bound: latency; where lists are longer than a piece, reading the partials, 16 KB for each later piece and 16 keys.
#include "selected_gradient_sums.cuh"

/** The first of entries[begin .. end) that is at least `value`. */
PHSA_DEVICE int firstAtLeast(const int* entries, int begin, int end, int value) {
  while (begin < end) {
    const int middle = begin + (end - begin) / 2;
    if (entries[middle] < value) {
      begin = middle + 1;
    } else {
      end = middle;
    }
  }
  return begin;
}

/** Cuts each list of the slab into pieces. Where pieces lie differs from run to run, the order in which they are summed does not. */
PHSA_DEVICE void cutLists(const SelectedGradientParams& params) {
  const Sequences& sequences = params.sequences;
  const int topK = params.rules.topK;
  const int index = blockIdx.x * kThreads + threadIdx.x;
  if (index >= params.kvHeads * sequences.blocks) return;
  const int kvHead = params.firstKvHead + index / sequences.blocks;
  int begin = 0;
  int end = 0;
  if (params.starts) {
    const int* starts = params.starts + static_cast<int64_t>(kvHead) * (sequences.blocks + 1) + index % sequences.blocks;
    const int* entries = params.entries + static_cast<int64_t>(kvHead) * sequences.queryTokens * topK;
    begin = starts[0];
    end = starts[1];
    if (params.firstRow > 0) begin = firstAtLeast(entries, begin, end, params.firstRow * topK);
    if (params.firstRow + params.rows < sequences.queryTokens) end = firstAtLeast(entries, begin, end, (params.firstRow + params.rows) * topK);
  }
  const int more = max(0, (end - begin - 1) / params.pieceEntries);
  const int head = index / sequences.blocks;
  const int first = more > 0 ? head * params.headPieces + atomicAdd(&params.counters[1 + head], more) : 0;
  reinterpret_cast<int4*>(params.lists)[index] = make_int4(begin, end - begin, first, more);
  for (int piece = 0; piece < more; piece++) reinterpret_cast<int2*>(params.pieces)[first + piece] = make_int2(index, piece + 1);
}

/** Adds the pieces of each list that has several, and clears the rows of no sequence. A warp has 16 keys. */
PHSA_DEVICE void finishSums(const SelectedGradientParams& params) {
  const Sequences& sequences = params.sequences;
  const Rules& rules = params.rules;
  const int slices = rules.blockSize / 16;
  const int warp = blockIdx.x * kWarps + warpIndex();
  const int slice = warp % slices;
  const int list = warp / slices;
  const int lists = params.kvHeads * sequences.blocks;
  if (params.last) {
    const int64_t first = static_cast<int64_t>(sequences.keyStarts[sequences.sequences]) * params.kvHeads;
    for (int64_t row = first + warp; row < static_cast<int64_t>(sequences.keyTokens) * params.kvHeads; row += gridDim.x * kWarps) {
      const int64_t at = (row / params.kvHeads * rules.kvHeads + params.firstKvHead + row % params.kvHeads) * (kHeadDim / 4) + laneIndex();
      static_cast<uint2*>(params.dk)[at] = make_uint2(0, 0);
      static_cast<uint2*>(params.dv)[at] = make_uint2(0, 0);
    }
  }
  if (list >= lists) return;
  const int4 range = reinterpret_cast<const int4*>(params.lists)[list];
  if (range.w == 0) return;
  const KeySlice keys = keySlice(params, list, slice);
  if (keys.sequence == sequences.sequences) return;
#pragma unroll
  for (int which = 0; which < 2; which++) {
    float sums[16][4] = {};
    for (int piece = 0; piece < range.w; piece++) {
      const float4* partial = partialOf(params, slices, range.z + piece, slice, which);
#pragma unroll
      for (int n = 0; n < 16; n++) {
        const float4 values = partial[n * kLanes];
        sums[n][0] += values.x;
        sums[n][1] += values.y;
        sums[n][2] += values.z;
        sums[n][3] += values.w;
      }
    }
    addSums(which ? params.dvSums : params.dkSums, which ? params.dv : params.dk, keys, rules.kvHeads, params.last, sums);
  }
}

PHSA_KERNEL(selected_gradient_cut, SelectedGradientParams, kThreads, cutLists)
PHSA_KERNEL(selected_gradient_finish, SelectedGradientParams, kThreads, finishSums)
