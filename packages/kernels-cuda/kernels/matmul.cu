// matmul.cu: dense matrix products where there is no cuBLASLt, so that the driver alone is enough.
//
// c [rows, columns] = left [rows, depth] right [depth, columns], each in memory as it is or transposed; f32 sums, rounded once on the store. A block owns a
// tile of 128 x 128. bf16: eight warps on tensor cores (mma.sync), four stages of operands in shared memory. f32: true f32, eight by eight
// elements a thread. Bound: products, at about half of what cuBLASLt gets; few rows (decoding) leave most of a GPU idle.
#include "elements.cuh"
#include "operand_loads.cuh"
#include "products.cuh"
#include "warp.cuh"

struct MatmulParams {
  const void* left;
  const void* right;
  void* result;
  int64_t leftStride;  // elements from one row in memory to the next
  int64_t rightStride;
  int64_t resultStride;
  int rows;
  int columns;
  int depth;
  int accumulate;  // 1: adds to the result
};

constexpr int kTile = 128;
constexpr int kMatmulThreads = 256;
/** Row tiles that are worked on together, so that they find the tiles of `right` in the cache. */
constexpr int kTileGroup = 8;

struct TilePlace {
  int row;
  int column;
};

/** The tile of this block: down the rows of a group first. */
PHSA_DEVICE TilePlace tilePlace(const MatmulParams& params) {
  const int rowTiles = (params.rows + kTile - 1) / kTile;
  const int columnTiles = (params.columns + kTile - 1) / kTile;
  const int perGroup = kTileGroup * columnTiles;
  const int first = blockIdx.x / perGroup * kTileGroup;
  const int height = min(rowTiles - first, kTileGroup);
  const int within = blockIdx.x % perGroup;
  return {(first + within % height) * kTile, within / height * kTile};
}

/** Stores two neighbours of a row, or what of them is inside of the result. */
template <typename R>
PHSA_DEVICE void storePair(const MatmulParams& params, int row, int column, float x, float y) {
  if (row >= params.rows || column >= params.columns) return;
  R* target = static_cast<R*>(params.result) + row * params.resultStride + column;
  const bool both = column + 1 < params.columns;
  if (params.accumulate) {
    x += toFloat(target[0]);
    if (both) y += toFloat(target[1]);
  }
  const float values[2] = {x, y};
  if (both && reinterpret_cast<uintptr_t>(target) % (2 * sizeof(R)) == 0) {
    storeElements(target, values);
  } else {
    target[0] = fromFloat<R>(x);
    if (both) target[1] = fromFloat<R>(y);
  }
}

// bf16

constexpr int kStages = 4;
constexpr int kDepthStep = 32;
constexpr int kOperandElements = kTile * kDepthStep;
constexpr int kChunk = kVector<bf16>;

/**
 * Where a chunk of 8 elements lies in a tile of an operand: rows of 128 along the depth (AlongDepth: rows of 32), chunks exchanged so that the eight rows
 * of a matrix lie in different banks.
 */
template <bool AlongDepth>
PHSA_DEVICE int chunkOffset(int outer, int chunk) {
  return AlongDepth ? outer * kDepthStep + (chunk ^ (outer >> 1 & 3)) * kChunk : outer * kTile + (chunk ^ (outer & 7)) * kChunk;
}

/** What this thread copies of the tiles of an operand, one tile after the other along the depth: two chunks of each, in the same place of two rows. */
template <bool AlongDepth>
struct TileCopies {
  static constexpr int kRowChunks = (AlongDepth ? kDepthStep : kTile) / kChunk;
  static constexpr int kRowsApart = kMatmulThreads / kRowChunks;
  static_assert(2 * kMatmulThreads * kChunk == kOperandElements);

  const bf16* source;
  int64_t stride;
  int target;
  /** Elements of the operand from the first chunk on: across the depth, and along it from the next tile on. */
  int across;
  int along;
  bool aligned;

  /** @param first row or column of the result where the tiles begin, of `count` */
  PHSA_DEVICE TileCopies(const void* operand, int64_t rowStride, int first, int count, int depth) : stride(rowStride) {
    const int outer = threadIdx.x / kRowChunks;
    const int chunk = threadIdx.x % kRowChunks;
    across = count - first - (AlongDepth ? outer : chunk * kChunk);
    along = depth - (AlongDepth ? chunk * kChunk : outer);
    source = static_cast<const bf16*>(operand) + (AlongDepth ? (first + outer) * stride + chunk * kChunk : outer * stride + first + chunk * kChunk);
    target = chunkOffset<AlongDepth>(outer, chunk);
    aligned = reinterpret_cast<uintptr_t>(operand) % 16 == 0 && stride % kChunk == 0;
  }

  /** Begins to copy the next tile; what is outside of the operand is 0. */
  PHSA_DEVICE void begin(bf16* tile) {
#pragma unroll
    for (int j = 0; j < 2; j++) {
      const int row = j * kRowsApart;
      const int outerLeft = (AlongDepth ? across : along) - row;
      const int inside = outerLeft > 0 ? max(0, min(kChunk, AlongDepth ? along : across)) : 0;
      copy(tile + target + row * (AlongDepth ? kDepthStep : kTile), source + row * stride, inside);
    }
    source += AlongDepth ? kDepthStep : kDepthStep * stride;
    along -= kDepthStep;
  }

  PHSA_DEVICE void copy(bf16* to, const bf16* from, int inside) const {
    if (aligned) {
      beginCopy(to, from, inside * static_cast<int>(sizeof(bf16)));
      return;
    }
    Pack<bf16, kChunk> pack = {};
#pragma unroll
    for (int e = 0; e < kChunk; e++)
      if (e < inside) pack.values[e] = from[e];
    *reinterpret_cast<Pack<bf16, kChunk>*>(to) = pack;
  }
};

/** LeftAlongDepth: left is [rows, depth] in memory, otherwise [depth, rows]. RightAlongDepth: right is [columns, depth], otherwise [depth, columns]. */
template <bool LeftAlongDepth, bool RightAlongDepth, typename R>
PHSA_DEVICE void matmulTensor(const MatmulParams& params) {
  PHSA_DYNAMIC_SHARED(shared);
  auto* tiles = reinterpret_cast<bf16*>(shared);
  const TilePlace place = tilePlace(params);
  const int steps = (params.depth + kDepthStep - 1) / kDepthStep;
  const int lane = laneIndex();
  // Two warps down the rows, four along the columns: 64 x 32 each.
  const int warpRow = warpIndex() % 2 * 64;
  const int warpColumn = warpIndex() / 2 * 32;

  TileCopies<LeftAlongDepth> left(params.left, params.leftStride, place.row, params.rows, params.depth);
  TileCopies<RightAlongDepth> right(params.right, params.rightStride, place.column, params.columns, params.depth);
  const auto begin = [&](int step) {
    if (step < steps) {
      bf16* stage = tiles + step % kStages * 2 * kOperandElements;
      left.begin(stage);
      right.begin(stage + kOperandElements);
    }
    endCopies();
  };

  float sums[4][4][4] = {};
  for (int step = 0; step < kStages - 1; step++) begin(step);
  for (int step = 0; step < steps; step++) {
    waitForCopies<kStages - 2>();
    __syncthreads();
    begin(step + kStages - 1);
    const bf16* a = tiles + step % kStages * 2 * kOperandElements;
    const bf16* b = a + kOperandElements;
#pragma unroll
    for (int k = 0; k < kDepthStep; k += 16) {
      uint32_t rows[4][4];
      uint32_t columns[2][4];
#pragma unroll
      for (int i = 0; i < 4; i++) {
        const int row = warpRow + i * 16;
        if constexpr (LeftAlongDepth) loadMatrices(rows[i], a + chunkOffset<true>(row + lane % 16, k / kChunk + lane / 16));
        else loadMatricesTransposed(rows[i], a + chunkOffset<false>(k + lane % 8 + lane / 16 * 8, row / kChunk + lane / 8 % 2));
      }
#pragma unroll
      for (int j = 0; j < 2; j++) {
        const int column = warpColumn + j * 16;
        if constexpr (RightAlongDepth) loadMatrices(columns[j], b + chunkOffset<true>(column + lane % 8 + lane / 16 * 8, k / kChunk + lane / 8 % 2));
        else loadMatricesTransposed(columns[j], b + chunkOffset<false>(k + lane % 16, column / kChunk + lane / 16));
      }
#pragma unroll
      for (int i = 0; i < 4; i++) {
#pragma unroll
        for (int j = 0; j < 4; j++) multiplyBf16(sums[i][j], rows[i], columns[j / 2][j % 2 * 2], columns[j / 2][j % 2 * 2 + 1]);
      }
    }
  }

#pragma unroll
  for (int i = 0; i < 4; i++) {
#pragma unroll
    for (int j = 0; j < 4; j++) {
      const int row = place.row + warpRow + i * 16 + lane / 4;
      const int column = place.column + warpColumn + j * 8 + lane % 4 * 2;
      storePair<R>(params, row, column, sums[i][j][0], sums[i][j][1]);
      storePair<R>(params, row + 8, column, sums[i][j][2], sums[i][j][3]);
    }
  }
}

// f32

constexpr int kFloatDepth = 16;
/** Floats from one depth to the next in shared memory: a multiple of 4 that spreads them over the banks. */
constexpr int kFloatStride = kTile + 4;
constexpr int kFloatsPerThread = kTile * kFloatDepth / kMatmulThreads;

/** Element i of this thread in the tile of an operand: neighbours in memory for neighbouring threads. */
template <bool AlongDepth>
PHSA_DEVICE void floatPlace(int i, int& outer, int& depth) {
  const int index = threadIdx.x + i * kMatmulThreads;
  outer = AlongDepth ? index / kFloatDepth : index % kTile;
  depth = AlongDepth ? index % kFloatDepth : index / kTile;
}

template <bool AlongDepth>
PHSA_DEVICE void readFloats(float (&values)[kFloatsPerThread], const float* operand, int64_t stride, int first, int count, int start, int depthCount) {
#pragma unroll
  for (int i = 0; i < kFloatsPerThread; i++) {
    int outer, depth;
    floatPlace<AlongDepth>(i, outer, depth);
    const int row = first + outer;
    const int k = start + depth;
    values[i] = row < count && k < depthCount ? operand[AlongDepth ? row * stride + k : k * stride + row] : 0.0f;
  }
}

template <bool AlongDepth>
PHSA_DEVICE void writeFloats(float* tile, const float (&values)[kFloatsPerThread]) {
#pragma unroll
  for (int i = 0; i < kFloatsPerThread; i++) {
    int outer, depth;
    floatPlace<AlongDepth>(i, outer, depth);
    tile[depth * kFloatStride + outer] = values[i];
  }
}

/** As matmulTensor, in f32. */
template <bool LeftAlongDepth, bool RightAlongDepth>
PHSA_DEVICE void matmulFloat(const MatmulParams& params) {
  alignas(16) __shared__ float a[kFloatDepth * kFloatStride];
  alignas(16) __shared__ float b[kFloatDepth * kFloatStride];
  const auto* left = static_cast<const float*>(params.left);
  const auto* right = static_cast<const float*>(params.right);
  const TilePlace place = tilePlace(params);
  // Rows and columns of this thread: four from here on, and four half a tile further.
  const int row = threadIdx.x / 16 * 4;
  const int column = threadIdx.x % 16 * 4;
  float sums[8][8] = {};
  float leftNext[kFloatsPerThread];
  float rightNext[kFloatsPerThread];
  const auto read = [&](int start) {
    readFloats<LeftAlongDepth>(leftNext, left, params.leftStride, place.row, params.rows, start, params.depth);
    readFloats<RightAlongDepth>(rightNext, right, params.rightStride, place.column, params.columns, start, params.depth);
  };
  read(0);
  for (int start = 0; start < params.depth; start += kFloatDepth) {
    __syncthreads();
    writeFloats<LeftAlongDepth>(a, leftNext);
    writeFloats<RightAlongDepth>(b, rightNext);
    __syncthreads();
    read(start + kFloatDepth);
#pragma unroll 4
    for (int k = 0; k < kFloatDepth; k++) {
      float x[8];
      float y[8];
#pragma unroll
      for (int half = 0; half < 2; half++) {
        const float4 p = *reinterpret_cast<const float4*>(a + k * kFloatStride + row + half * kTile / 2);
        const float4 q = *reinterpret_cast<const float4*>(b + k * kFloatStride + column + half * kTile / 2);
        x[4 * half] = p.x, x[4 * half + 1] = p.y, x[4 * half + 2] = p.z, x[4 * half + 3] = p.w;
        y[4 * half] = q.x, y[4 * half + 1] = q.y, y[4 * half + 2] = q.z, y[4 * half + 3] = q.w;
      }
#pragma unroll
      for (int i = 0; i < 8; i++) {
#pragma unroll
        for (int j = 0; j < 8; j++) sums[i][j] = fmaf(x[i], y[j], sums[i][j]);
      }
    }
  }
#pragma unroll
  for (int i = 0; i < 8; i++) {
#pragma unroll
    for (int j = 0; j < 8; j += 2) {
      storePair<float>(params, place.row + row + i % 4 + i / 4 * kTile / 2, place.column + column + j % 4 + j / 4 * kTile / 2, sums[i][j],
                       sums[i][j + 1]);
    }
  }
}

#define INSTANCE(FORM, LEFT, RIGHT)                                                                   \
  PHSA_KERNEL(matmul_##FORM##_bf16_bf16, MatmulParams, kMatmulThreads, matmulTensor<LEFT, RIGHT, bf16>)   \
  PHSA_KERNEL(matmul_##FORM##_bf16_f32, MatmulParams, kMatmulThreads, matmulTensor<LEFT, RIGHT, float>)   \
  PHSA_KERNEL(matmul_##FORM##_f32_f32, MatmulParams, kMatmulThreads, matmulFloat<LEFT, RIGHT>)
// By what is transposed: n as it is, t transposed, left and right.
INSTANCE(nn, true, false)
INSTANCE(nt, true, true)
INSTANCE(tn, false, false)
