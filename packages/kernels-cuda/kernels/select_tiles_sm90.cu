// select_tiles_sm90.cu: rounds the representatives to f16 (11 bits) and lays them out as the operands of select_blocks_sm90.cu and
// select_pair_sm90.cu: 128 blocks of one sequence are 32 KB that one bulk copy brings in. Bound: bytes, four in and two out an element.
#include "select_tiles.cuh"

struct SelectTilesParams {
  const float* reps;  // [Hkv, blocks, D]
  void* tiles;        // f16, see tileOffset
  Sequences sequences;
  Rules rules;
};

/** A thread block makes one tile of one KV head; rows past the sequence's last block are 0. */
extern "C" __global__ void __launch_bounds__(256) select_tiles_sm90(const __grid_constant__ SelectTilesParams params) {
  const Sequences& sequences = params.sequences;
  const RowTile tile = rowTile(sequences.blockStarts, sequences.sequences, sequences.blocks, kTile, blockIdx.x);
  if (tile.first >= tile.end || tile.sequence == sequences.sequences) return;
  const int kvHead = blockIdx.y;
  const int within = (tile.first - sequences.blockStarts[tile.sequence]) / kTile;
  unsigned char* target = static_cast<unsigned char*>(params.tiles) + tileOffset(sequences, kvHead, tile.sequence, within);
  const float* reps = params.reps + (static_cast<int64_t>(kvHead) * sequences.blocks + tile.first) * kDim;
  for (int index = threadIdx.x; index < kTile * 16; index += 256) {
    const int row = index / 16;
    const int chunk = index % 16;
    float4 low = {0.0f, 0.0f, 0.0f, 0.0f};
    float4 high = low;
    if (tile.first + row < tile.end) {
      const float4* source = reinterpret_cast<const float4*>(reps + row * kDim + chunk * 8);
      low = source[0];
      high = source[1];
    }
    const uint4 packed = {packHalf(low.x, low.y), packHalf(low.z, low.w), packHalf(high.x, high.y), packHalf(high.z, high.w)};
    *reinterpret_cast<uint4*>(target + operandOffset(row, chunk, kTile)) = packed;
  }
}
