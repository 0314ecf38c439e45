// few_rows.cu: products of a few rows with the weights of a layer, x Wt, with what stands before and behind them while tokens are decoded.
//
// A thread block owns tiles of 8 columns (weight rows), eight warps share the depth, each an eighth of it. What a block needs of the weights fits into its shared
// memory and is under way before the block waits for the kernel in front of it, so that weights come while that one computes. Rows of x are the left operand of
// mma.sync, 16 at a time, the missing ones 0; the dimensions of a step are permuted in both operands alike so that all loads are 16 bytes. The RMS norm
// of x comes in as the weight's factor before the product and the row's factor behind it: no barrier stands before the product.
// Numerics: bf16 operands (x times the norm's weight is rounded), f32 sums: of a warp in order of the depth, then of the warps in order. So a row's bits depend on
// the depth and on nothing else, neither on the other rows nor on the tiles of a block. Bound: bytes of the weights at 4.2 TB/s.
#include "elements.cuh"
#include "operand_loads.cuh"
#include "overlap.cuh"
#include "products.cuh"
#include "warp.cuh"

constexpr int kFewWarps = 8;
constexpr int kFewThreads = kFewWarps * kLanes;
/** Columns of a tile, rows of x at a time, elements of a weight row that a warp takes at a time. */
constexpr int kTileColumns = 8;
constexpr int kGroupRows = 16;
constexpr int kStep = 64;
/** 16-byte vectors of a row in a step. */
constexpr int kStepVectors = 8;
/** Between rows of x in shared memory, so that neighbouring rows lie in other banks. */
constexpr int kRowPadBytes = 64;

/** One of several weights on the same x. */
struct FewRowsPart {
  const void* weight;  // [columns, depth]
  void* y;             // [rows, columns]
  int columns;
  int firstTile;       // of the launch
};

struct FewRowsParams {
  FewRowsPart parts[3];
  const void* x;         // [rows, depth]
  const void* norm;      // [depth], of few_rows_normed and few_rows_gated
  const void* residual;  // [rows, columns], of few_rows_added
  int rows;
  int depth;
  int tiles;
  int partsUsed;
  int steps;        // of a warp
  int regionBytes;  // of a warp: its share of x, and its sums
  int sumsAt;       // in a region: 0, where the sums take the place of x, or behind it where more rows follow
  float epsilon;
};

/** What is done with x and the sums. */
enum class FewRows {
  /** y = norm(x) Wt, for up to three weights. */
  kNormed,
  /** y = residual + x Wt. */
  kAdded,
  /** y = silu(g) u, g and u the products of norm(x) with the first and the second weight. */
  kGated
};

using Vector = Pack<bf16, 8>;

/** Which weight a tile belongs to. */
PHSA_DEVICE int partOf(const FewRowsParams& params, int tile) {
  int part = 0;
  while (part + 1 < params.partsUsed && tile >= params.parts[part + 1].firstTile) part++;
  return part;
}

/** Shared memory of a thread block: weights, the norm's weight, and a region for each warp. */
template <int kWeightTiles, bool kNorms>
struct FewRowsMemory {
  uint4* weights;
  Vector* norm;
  unsigned char* regions;
  int steps;

  PHSA_DEVICE FewRowsMemory(unsigned char* memory, int stepsOfWarp) : weights(reinterpret_cast<uint4*>(memory)), steps(stepsOfWarp) {
    norm = reinterpret_cast<Vector*>(weights + kWeightTiles * steps * kFewWarps * kTileColumns * kStepVectors);
    regions = reinterpret_cast<unsigned char*>(norm + (kNorms ? kFewWarps * steps * kStepVectors : 0));
  }

  /** A vector of a weight row; odd rows have their halves exchanged, for other banks. */
  PHSA_DEVICE uint4* weight(int tile, int step, int row, int vector) const {
    return weights + (((tile * steps + step) * kFewWarps + warpIndex()) * kTileColumns + row) * kStepVectors + (vector ^ (row % 2 * 4));
  }

  PHSA_DEVICE Vector* normed(int vector) const { return norm + warpIndex() * steps * kStepVectors + vector; }
};

/** Begins to copy the warp's part of all tiles: 128 bytes of four rows at once. */
template <int kWeightTiles, typename Memory>
PHSA_DEVICE void copyWeights(const FewRowsParams& params, const Memory& memory, const bf16* const (&tiles)[kWeightTiles]) {
  const int vector = laneIndex() % kStepVectors;
#pragma unroll 2
  for (int step = 0; step < memory.steps; step++) {
    const int at = (warpIndex() * memory.steps + step) * kStep + vector * 8;
    const bool isInside = at < params.depth;
#pragma unroll
    for (int tile = 0; tile < kWeightTiles; tile++) {
#pragma unroll
      for (int half = 0; half < 2; half++) {
        const int row = laneIndex() / kStepVectors + 4 * half;
        const bool isThere = isInside && tiles[tile] != nullptr;
        const bf16* source = isThere ? tiles[tile] + static_cast<int64_t>(row) * params.depth + at : static_cast<const bf16*>(params.parts[0].weight);
        beginCopy(memory.weight(tile, step, row, vector), source, isThere ? 16 : 0);
      }
    }
  }
}

/** Multiplies by the norm's weight, and adds to the sum of squares. */
PHSA_DEVICE uint4 weighted(uint4 words, const Vector& norm, float& squares) {
  union {
    uint4 words;
    Vector elements;
  } x = {words};
  uint32_t result[4];
#pragma unroll
  for (int i = 0; i < 4; i++) {
    const float low = toFloat(x.elements.values[2 * i]);
    const float high = toFloat(x.elements.values[2 * i + 1]);
    squares = fmaf(low, low, squares);
    squares = fmaf(high, high, squares);
    result[i] = roundToBf16(low * toFloat(norm.values[2 * i]), high * toFloat(norm.values[2 * i + 1]));
  }
  return {result[0], result[1], result[2], result[3]};
}

/** A warp's share of the sums of up to 16 rows: [tile, row, column]. Behind it nobody reads x any more. */
template <int kWeightTiles, bool kNorms>
PHSA_DEVICE void multiplyShare(const FewRowsMemory<kWeightTiles, kNorms>& memory, const unsigned char* region, float* partials, int rows, float* squaresOfRows) {
  const int g = laneIndex() / 4;
  const int c = laneIndex() % 4;
  const int rowBytes = memory.steps * kStep * 2 + kRowPadBytes;
  float sums[kWeightTiles][2][4] = {};
  float squares[2] = {};
#pragma unroll 2
  for (int step = 0; step < memory.steps; step++) {
#pragma unroll
    for (int half = 0; half < 2; half++) {
      const int vector = 4 * half + c;
      uint4 x[2] = {};
#pragma unroll
      for (int i = 0; i < 2; i++) {
        if (g + 8 * i >= rows) continue;
        x[i] = *reinterpret_cast<const uint4*>(region + (g + 8 * i) * rowBytes + (step * kStepVectors + vector) * 16);
        if constexpr (kNorms) x[i] = weighted(x[i], *memory.normed(step * kStepVectors + vector), squares[i]);
      }
      const uint32_t first[4] = {x[0].x, x[1].x, x[0].y, x[1].y};
      const uint32_t second[4] = {x[0].z, x[1].z, x[0].w, x[1].w};
#pragma unroll
      for (int tile = 0; tile < kWeightTiles; tile++) {
        const uint4 weight = *memory.weight(tile, step, g, vector);
        multiplyBf16(sums[tile][0], first, weight.x, weight.y);
        multiplyBf16(sums[tile][1], second, weight.z, weight.w);
      }
    }
  }
  __syncwarp();
#pragma unroll
  for (int tile = 0; tile < kWeightTiles; tile++) {
#pragma unroll
    for (int i = 0; i < 2; i++) {
      if (g + 8 * i >= rows) continue;
      const float2 pair = {sums[tile][0][2 * i] + sums[tile][1][2 * i], sums[tile][0][2 * i + 1] + sums[tile][1][2 * i + 1]};
      *reinterpret_cast<float2*>(partials + (tile * rows + g + 8 * i) * kTileColumns + 2 * c) = pair;
    }
  }
  if constexpr (kNorms) {
#pragma unroll
    for (int i = 0; i < 2; i++) {
      squares[i] += __shfl_xor_sync(kWholeWarp, squares[i], 1);
      squares[i] += __shfl_xor_sync(kWholeWarp, squares[i], 2);
      if (c == 0) squaresOfRows[warpIndex() * kGroupRows + g + 8 * i] = squares[i];
    }
  }
}

/** Over the warps, in order. */
PHSA_DEVICE float sumOfWarps(const unsigned char* values, int stride) {
  float sum = 0.0f;
#pragma unroll
  for (int warp = 0; warp < kFewWarps; warp++) sum += *reinterpret_cast<const float*>(values + warp * stride);
  return sum;
}

/** @tparam kTiles tiles of y that a thread block owns */
template <FewRows kForm, int kTiles>
PHSA_DEVICE void fewRows(const FewRowsParams& params) {
  constexpr bool kNorms = kForm != FewRows::kAdded;
  constexpr bool kGates = kForm == FewRows::kGated;
  constexpr int kWeightTiles = kGates ? 2 * kTiles : kTiles;
  constexpr int kColumns = kTiles * kTileColumns;
  /** Of a thread, at most. */
  constexpr int kOutputs = (kGroupRows * kColumns + kFewThreads - 1) / kFewThreads;
  PHSA_DYNAMIC_SHARED(bytes);
  __shared__ float squares[kFewWarps * kGroupRows];
  const FewRowsMemory<kWeightTiles, kNorms> memory(bytes, params.steps);
  const int firstTile = blockIdx.x * kTiles;

  const bf16* tiles[kWeightTiles] = {};
#pragma unroll
  for (int i = 0; i < kWeightTiles; i++) {
    const int tile = firstTile + (kGates ? i / 2 : i);
    if (tile >= params.tiles) continue;
    const FewRowsPart& part = params.parts[kGates ? i % 2 : partOf(params, tile)];
    tiles[i] = static_cast<const bf16*>(part.weight) + static_cast<int64_t>(tile - (kGates ? 0 : part.firstTile)) * kTileColumns * params.depth;
  }
  copyWeights(params, memory, tiles);
  const int share = warpIndex() * params.steps * kStep;
  const int vectors = params.steps * kStepVectors;
  if constexpr (kNorms) {
    for (int vector = laneIndex(); vector < vectors; vector += kLanes) {
      const bool isInside = share + vector * 8 < params.depth;
      beginCopy(memory.normed(vector), static_cast<const bf16*>(params.norm) + (isInside ? share + vector * 8 : 0), isInside ? 16 : 0);
    }
  }
  endCopies();
  waitForKernelBefore();
  letNextKernelBegin();

  unsigned char* region = memory.regions + warpIndex() * params.regionBytes;
  const int rowBytes = params.steps * kStep * 2 + kRowPadBytes;
  const auto copyRows = [&](int firstRow) {
    const bf16* x = static_cast<const bf16*>(params.x) + static_cast<int64_t>(firstRow) * params.depth;
    for (int row = 0; row < min(kGroupRows, params.rows - firstRow); row++) {
      for (int vector = laneIndex(); vector < vectors; vector += kLanes) {
        const bool isInside = share + vector * 8 < params.depth;
        beginCopy(region + row * rowBytes + vector * 16, x + (isInside ? row * params.depth + share + vector * 8 : 0), isInside ? 16 : 0);
      }
    }
    endCopies();
  };
  copyRows(0);
  for (int firstRow = 0; firstRow < params.rows; firstRow += kGroupRows) {
    const int rows = min(kGroupRows, params.rows - firstRow);
    const auto placeOf = [&](int output, auto use) {
      const int row = output / kColumns;
      const int tile = firstTile + output % kColumns / kTileColumns;
      if (row >= rows || tile >= params.tiles) return;
      const FewRowsPart& part = params.parts[kGates ? 0 : partOf(params, tile)];
      const int column = (tile - (kGates ? 0 : part.firstTile)) * kTileColumns + output % kTileColumns;
      use(part, static_cast<int64_t>(firstRow + row) * part.columns + column, row);
    };
    float before[kOutputs] = {};
    if constexpr (kForm == FewRows::kAdded) {
#pragma unroll
      for (int i = 0; i < kOutputs; i++) {
        placeOf(threadIdx.x + i * kFewThreads, [&](const FewRowsPart&, int64_t at, int) { before[i] = toFloat(static_cast<const bf16*>(params.residual)[at]); });
      }
    }
    waitForCopies<0>();
    __syncwarp();
    multiplyShare(memory, region, reinterpret_cast<float*>(region + params.sumsAt), rows, squares);
    if (firstRow + kGroupRows < params.rows) copyRows(firstRow + kGroupRows);
    __syncthreads();

#pragma unroll
    for (int i = 0; i < kOutputs; i++) {
      const int output = threadIdx.x + i * kFewThreads;
      placeOf(output, [&](const FewRowsPart& part, int64_t at, int row) {
        const auto product = [&](int tile) {
          const int index = (tile * rows + row) * kTileColumns + output % kTileColumns;
          return sumOfWarps(memory.regions + params.sumsAt + index * sizeof(float), params.regionBytes);
        };
        const int tile = output % kColumns / kTileColumns;
        float inverse = 1.0f;
        if constexpr (kNorms) {
          const float total = sumOfWarps(reinterpret_cast<const unsigned char*>(squares + row), kGroupRows * sizeof(float));
          inverse = 1.0f / sqrtf(total / params.depth + params.epsilon);
        }
        float y;
        if constexpr (kGates) {
          const float gate = product(2 * tile) * inverse;
          y = gate / (1.0f + expf(-gate)) * (product(2 * tile + 1) * inverse);
        } else {
          y = before[i] + product(tile) * inverse;
        }
        static_cast<bf16*>(part.y)[at] = fromFloat<bf16>(y);
      });
    }
    // The next rows have their sums where these were.
    __syncthreads();
  }
}

// TILES_AT_ONCE of few-rows.ts.
#define INSTANCE(TILES)                                                                                           \
  PHSA_KERNEL(few_rows_normed_bf16_t##TILES, FewRowsParams, kFewThreads, fewRows<FewRows::kNormed, TILES>)       \
  PHSA_KERNEL(few_rows_added_bf16_t##TILES, FewRowsParams, kFewThreads, fewRows<FewRows::kAdded, TILES>)         \
  PHSA_KERNEL(few_rows_gated_bf16_t##TILES, FewRowsParams, kFewThreads, fewRows<FewRows::kGated, TILES>)
INSTANCE(1)
INSTANCE(2)
INSTANCE(3)
INSTANCE(4)
