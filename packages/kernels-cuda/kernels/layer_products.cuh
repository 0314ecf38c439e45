// layer_products.cuh: a thread block's share of a layer's matrix products with one vector: some rows of each weight, through the ring; a warp has an eighth of
// the depth (decode_layers.cuh).
#pragma once
#include "layers_step.cuh"
#include "row_groups.cuh"

/** Which warp begins copies: not the one that puts sums together. */
constexpr int kCopyWarp = kLayerWarps - 1;

/** A warp's share of x as operand of its products: the same in all columns. */
template <int Chunks>
struct ShareOfX {
  uint4 vectors[Chunks][kWarpDepth / 32];
};

template <typename S>
struct LayerProducts {
  const LayersStep<S>& step;
  WeightRing<kSlots> ring;
  int consumed = 0;  // chunks
  int turn = 0;      // products so far

  PHSA_DEVICE LayerProducts(const LayersStep<S>& given, unsigned char* slots)
      : step(given), ring(slots, given.shared.whole, given.params.layersUsed * S::kLayerChunks) {}

  /** Where this thread block has a chunk of the launch from: a layer's products in their order, tile by tile, gate and up by turns. */
  PHSA_DEVICE ChunkSource sourceOf(int chunk) const {
    const LayerParams& layer = step.params.layers[chunk / S::kLayerChunks];
    const int block = blockIdx.x;
    int index = chunk % S::kLayerChunks;
    const auto rows = [](const void* weight, int row, int depth, int part) {
      return ChunkSource{static_cast<const bf16*>(weight) + static_cast<int64_t>(row) * depth + part * kChunkDepth, depth};
    };
    if (index < S::kHeadChunks) {
      const int row = (block * S::kHeadTiles + index / S::kWidthChunks) * kChunkRows;
      const int part = index % S::kWidthChunks;
      if (row < S::kAttended) return rows(layer.q, row, S::kWidth, part);
      if (row < S::kAttended + S::kKeyWidth) return rows(layer.k, row - S::kAttended, S::kWidth, part);
      return rows(layer.v, row - S::kAttended - S::kKeyWidth, S::kWidth, part);
    }
    index -= S::kHeadChunks;
    if (index < S::kOutChunks) {
      return rows(layer.o, (block * S::kOutTiles + index / S::kAttendedChunks) * kChunkRows, S::kAttended, index % S::kAttendedChunks);
    }
    index -= S::kOutChunks;
    if (index < S::kGateChunks) {
      const int tile = index / S::kWidthChunks;
      return rows(tile % 2 == 0 ? layer.gate : layer.up, (block * S::kInnerTiles + tile / 2) * kChunkRows, S::kWidth, index % S::kWidthChunks);
    }
    index -= S::kGateChunks;
    return rows(layer.down, (block * S::kOutTiles + index / S::kInnerChunks) * kChunkRows, S::kInner, index % S::kInnerChunks);
  }

  /** Begins the next copies, whose slots nobody reads any more. */
  PHSA_DEVICE void beginCopies(int count) {
    if (warpIndex() == kCopyWarp) ring.begin(count, [this](int chunk) { return sourceOf(chunk); });
  }

  /** This lane's four elements of a warp's share of a vector in places from `first` on. */
  template <int Chunks>
  PHSA_DEVICE void receive(int first, uint2 (&words)[Chunks]) const {
    const uint64_t* places[Chunks];
#pragma unroll
    for (int q = 0; q < Chunks; q++) places[q] = step.params.exchange + first + (q * kChunkDepth + warpIndex() * kWarpDepth) / 2 + 2 * laneIndex();
    receiveWords(places, step.tag, words);
  }

  /** The same of a vector in memory. */
  template <int Chunks>
  PHSA_DEVICE static void load(const void* vector, uint2 (&words)[Chunks]) {
#pragma unroll
    for (int q = 0; q < Chunks; q++) words[q] = static_cast<const uint2*>(vector)[(q * kChunkDepth + warpIndex() * kWarpDepth) / 4 + laneIndex()];
  }

  /** Multiplies by the norm's weight, and leaves this warp's sum of squares for `inverse`. */
  template <int Chunks>
  PHSA_DEVICE void weigh(uint2 (&words)[Chunks], const uint2 (&norm)[Chunks]) {
    float squares = 0.0f;
    const auto both = [&](uint32_t& word, uint32_t weight) {
      const float low = __uint_as_float(word << 16);
      const float high = __uint_as_float(word & 0xffff0000u);
      squares = fmaf(low, low, squares);
      squares = fmaf(high, high, squares);
      word = roundToBf16(low * __uint_as_float(weight << 16), high * __uint_as_float(weight & 0xffff0000u));
    };
#pragma unroll
    for (int q = 0; q < Chunks; q++) {
      both(words[q].x, norm[q].x);
      both(words[q].y, norm[q].y);
    }
    squares = warpSum(squares);
    if (laneIndex() == 0) step.shared.squares[turn % 2][warpIndex()] = squares;
  }

  /** What the norm divides by, as a factor of the product behind `multiply`. */
  PHSA_DEVICE float inverse() const {
    float sum = 0.0f;
#pragma unroll
    for (int warp = 0; warp < kLayerWarps; warp++) sum += step.shared.squares[turn % 2][warp];
    return inverseRms(sum, S::kWidth, step.params.epsilon);
  }

  template <int Chunks>
  PHSA_DEVICE ShareOfX<Chunks> shareOf(const uint2 (&words)[Chunks]) const {
    ShareOfX<Chunks> x;
    uint4(*own)[kWarpDepth / 8] = step.shared.x[warpIndex()];
#pragma unroll
    for (int q = 0; q < Chunks; q++) reinterpret_cast<uint2*>(own[q])[laneIndex()] = words[q];
    __syncwarp();
#pragma unroll
    for (int q = 0; q < Chunks; q++) {
#pragma unroll
      for (int j = 0; j < kWarpDepth / 32; j++) x.vectors[q][j] = own[q][4 * j + laneIndex() % 4];
    }
    __syncwarp();
    return x;
  }

  /** This warp's share of the products with the next tiles; ends with a barrier. What the tiles were in may be copied over then. */
  template <int Tiles, int Chunks>
  PHSA_DEVICE void multiply(const ShareOfX<Chunks>& x) {
    const int g = laneIndex() / 4;
    const int c = laneIndex() % 4;
    const int place = g * kChunkPitch + warpIndex() * kWarpDepth * 2 + c * 16;
#pragma unroll
    for (int tile = 0; tile < Tiles; tile += 2) {
      const bool isPair = tile + 1 < Tiles;
      float sums[2][4] = {};
#pragma unroll
      for (int q = 0; q < Chunks; q++) {
        const int chunk = consumed + tile * Chunks + q;
        const unsigned char* first = ring.get(chunk) + place;
        const unsigned char* second = isPair ? ring.get(chunk + Chunks) + place : nullptr;
#pragma unroll
        for (int j = 0; j < kWarpDepth / 32; j++) {
          const uint4 a = *reinterpret_cast<const uint4*>(first + 64 * j);
          const uint4 b = isPair ? *reinterpret_cast<const uint4*>(second + 64 * j) : uint4{0, 0, 0, 0};
          const uint32_t low[4] = {a.x, b.x, a.y, b.y};
          const uint32_t high[4] = {a.z, b.z, a.w, b.w};
          multiplyBf16(sums[0], low, x.vectors[q][j].x, x.vectors[q][j].y);
          multiplyBf16(sums[1], high, x.vectors[q][j].z, x.vectors[q][j].w);
        }
      }
      if (c == 0) {
        step.shared.partials[turn % 2][tile * kChunkRows + g][warpIndex()] = sums[0][0] + sums[1][0];
        if (isPair) step.shared.partials[turn % 2][(tile + 1) * kChunkRows + g][warpIndex()] = sums[0][2] + sums[1][2];
      }
    }
    consumed += Tiles * Chunks;
    __syncthreads();
  }

  /** Over the warps, in order. */
  PHSA_DEVICE float sumOfRow(int row) const {
    float sum = 0.0f;
#pragma unroll
    for (int warp = 0; warp < kLayerWarps; warp++) sum += step.shared.partials[turn % 2][row][warp];
    return sum;
  }

  /** After the last of the sums is taken. */
  PHSA_DEVICE void end(int chunks) {
    turn++;
    beginCopies(chunks);
  }
};
