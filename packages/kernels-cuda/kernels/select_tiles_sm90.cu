// select_tiles_sm90.cu: rounds the representatives to f16 (11 bits) and lays them out as the operands of select_blocks_sm90.cu and
// select_pair_sm90.cu: 128 blocks of one sequence are 32 KB that one bulk copy brings in; those of a paged cache, which has them in f16, are gathered from
// their pages. Bound: bytes, four (packed) or two in and two out an element.
#include "select_tiles.cuh"

struct SelectTilesParams {
  const void* reps;  // f32 [Hkv, blocks, D]; paged: f16 [blocks of all pages, Hkv, D]
  void* tiles;       // f16, see tileOffset
  Sequences sequences;
  Rules rules;
};

constexpr int kTileThreads = 256;

/** A thread block makes one tile of one KV head, 16 bytes at a time; rows past the sequence's last block are 0. */
template <typename Load>
PHSA_DEVICE void makeTile(const SelectTilesParams& params, const RowTile& tile, Load load) {
  const Sequences& sequences = params.sequences;
  const int firstBlock = tile.first - sequences.blockStarts[tile.sequence];
  unsigned char* target = static_cast<unsigned char*>(params.tiles) + tileOffset(sequences, blockIdx.y, tile.sequence, firstBlock / kTile);
  for (int index = threadIdx.x; index < kTile * 16; index += kTileThreads) {
    const int row = index / 16;
    const int chunk = index % 16;
    const uint4 packed = tile.first + row < tile.end ? load(firstBlock + row, chunk) : uint4{0, 0, 0, 0};
    *reinterpret_cast<uint4*>(target + operandOffset(row, chunk, kTile)) = packed;
  }
}

/** Tile blockIdx.x of those that cover each sequence's blocks; false where there is none. */
PHSA_DEVICE bool findTile(const Sequences& sequences, RowTile& tile) {
  tile = rowTile(sequences.blockStarts, sequences.sequences, sequences.blocks, kTile, blockIdx.x);
  return tile.first < tile.end && tile.sequence < sequences.sequences;
}

extern "C" __global__ void __launch_bounds__(kTileThreads) select_tiles_sm90(const __grid_constant__ SelectTilesParams params) {
  const Sequences& sequences = params.sequences;
  RowTile tile;
  if (!findTile(sequences, tile)) return;
  const float* reps =
      static_cast<const float*>(params.reps) + (static_cast<int64_t>(blockIdx.y) * sequences.blocks + sequences.blockStarts[tile.sequence]) * kDim;
  makeTile(params, tile, [&](int block, int chunk) {
    const float4* source = reinterpret_cast<const float4*>(reps + static_cast<int64_t>(block) * kDim + chunk * 8);
    const float4 low = source[0];
    const float4 high = source[1];
    return uint4{packHalf(low.x, low.y), packHalf(low.z, low.w), packHalf(high.x, high.y), packHalf(high.z, high.w)};
  });
}

extern "C" __global__ void __launch_bounds__(kTileThreads) select_tiles_paged_sm90(const __grid_constant__ SelectTilesParams params) {
  const Sequences& sequences = params.sequences;
  const Rules& rules = params.rules;
  RowTile tile;
  if (!findTile(sequences, tile)) return;
  const int complete = sequences.keyLengths[tile.sequence] / rules.blockSize;
  makeTile(params, tile, [&](int block, int chunk) {
    // A block that is not complete has no representative yet.
    if (block >= complete) return uint4{0, 0, 0, 0};
    const int64_t row = representativeRow(sequences, rules, tile.sequence, blockIdx.y, block);
    return static_cast<const uint4*>(params.reps)[row * 16 + chunk];
  });
}
