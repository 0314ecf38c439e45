// qk_norm_rope.cu: RMS norm over each head, then rotary position (spec 1), and the gradients.
//
// Persistent thread blocks. The lanes of a warp that own a head's row each hold a 16-byte vector of its first half and the one that rotates with it, D / 2
// elements on: a row is read once, while the next ones are under way, and 32 / (D / 2 / vector) rows share a warp. They take four rows one after the
// other, mostly of one token, which has one angle. Backward: a lane sums the weight's gradient in registers, and a block leaves one partial row for
// column_sums.cu: a fixed order. Other head dimensions go element by element, a warp a row.
// Bound: bytes, floor 2 (forward) or 3 (backward) times T H D elements at 4.3 TB/s. Numerics: f32, one rounding on store; angles come as a table.
#include "row_ring.cuh"

struct QkNormRopeParams {
  const void* x;         // [T, H, D]
  const void* weight;    // [D]
  const int* positions;  // [T]
  const float* cos;      // [P, D / 2]
  const float* sin;      // [P, D / 2]
  void* y;               // [T, H, D]
  int64_t rows;          // T H
  int heads;             // H
  int headDim;           // D
  float epsilon;
};

struct QkNormRopeBackwardParams {
  const void* dy;        // [T, H, D]
  const void* x;         // [T, H, D]
  const void* weight;    // [D]
  const int* positions;  // [T]
  const float* cos;      // [P, D / 2]
  const float* sin;      // [P, D / 2]
  void* dx;              // [T, H, D]
  float* partials;       // [thread blocks, D]; of the element-wise form [warps, D]
  int64_t rows;          // T H
  int heads;             // H
  int headDim;           // D
  float epsilon;
};

/** Two elements D / 2 apart, rotated by an angle. */
struct Rotation {
  float cosine;
  float sine;

  PHSA_DEVICE Sums forward(Sums pair) const {
    return {pair.first * cosine - pair.second * sine, pair.second * cosine + pair.first * sine};
  }

  /** By the opposite angle: the transpose. */
  PHSA_DEVICE Sums back(Sums pair) const {
    return {pair.first * cosine + pair.second * sine, pair.second * cosine - pair.first * sine};
  }
};

/** Sum over `lanes` neighbouring lanes, a power of two, in each of them. */
PHSA_DEVICE float laneSum(float value, int lanes) {
  for (int offset = lanes / 2; offset > 0; offset /= 2) value += __shfl_xor_sync(kWholeWarp, value, offset);
  return value;
}

template <typename P>
PHSA_DEVICE int64_t tableRow(const P& params, int64_t row) {
  // A division of 64 bits costs as much as the whole row.
  const int64_t token = row >> 32 ? row / params.heads : static_cast<uint32_t>(row) / static_cast<uint32_t>(params.heads);
  return static_cast<int64_t>(params.positions[token]) * (params.headDim / 2);
}

/** Writes a lane's pair of vectors of a row. */
template <int N, typename T>
PHSA_DEVICE void storeHalves(T* rows, int64_t at, int half, const Sums (&pairs)[N]) {
  float first[N], second[N];
#pragma unroll
  for (int i = 0; i < N; i++) {
    first[i] = pairs[i].first;
    second[i] = pairs[i].second;
  }
  storeElements(rows + at, first);
  storeElements(rows + at + half, second);
}

/** A lane's pair of vectors of a row, as they lie in memory. */
template <typename T>
struct Halves {
  static constexpr int N = kVector<T>;
  Pack<T, N> first;
  Pack<T, N> second;

  PHSA_DEVICE void load(const void* rows, int64_t at, int half) {
    first = *reinterpret_cast<const Pack<T, N>*>(static_cast<const T*>(rows) + at);
    second = *reinterpret_cast<const Pack<T, N>*>(static_cast<const T*>(rows) + at + half);
  }

  PHSA_DEVICE Sums at(int i) const { return {toFloat(first.values[i]), toFloat(second.values[i])}; }
};

/** A lane's part of a token's angles. */
template <int N>
struct Angles {
  float cosines[N];
  float sines[N];

  template <typename P>
  PHSA_DEVICE void load(const P& params, int64_t row, int at) {
    const int64_t start = tableRow(params, row) + at;
    loadElements(params.cos + start, cosines);
    loadElements(params.sin + start, sines);
  }

  PHSA_DEVICE Rotation of(int i) const { return {cosines[i], sines[i]}; }
};

/** A lane's part of the weight, of N elements of each half whatever their type. */
template <int N>
struct Weight {
  float first[N];
  float second[N];

  template <typename W>
  PHSA_DEVICE void load(const W* weight, int half) {
    loadElements(weight, first);
    loadElements(weight + half, second);
  }
};

/** Rows that the lanes of a row take one after the other, mostly of one token: ROWS_TOGETHER of qk-norm-rope.ts. */
constexpr int kTogether = 4;
/** Rows in the ring of a lane: RING_BYTES of qk-norm-rope.ts. */
constexpr int kStages = 4;

/** The rows that some lanes own, kTogether a turn of the grid, and the ring that they come through: each lane reads what it has copied itself. */
template <typename T, int kTensors>
struct HeadRows {
  static constexpr int N = kVector<T>;
  Pack<T, N>* slots;
  int64_t rows;
  int64_t begin;
  int64_t stride;
  int headDim;
  /** Where the lane's vector of a half begins. */
  int at;

  template <typename P>
  PHSA_DEVICE HeadRows(const P& params, void* memory)
      : slots(static_cast<Pack<T, N>*>(memory) + threadIdx.x), rows(params.rows), headDim(params.headDim) {
    const int owners = headDim / 2 / N;
    at = threadIdx.x % owners * N;
    begin = (static_cast<int64_t>(blockIdx.x) * (kRowThreads / owners) + threadIdx.x / owners) * kTogether;
    stride = static_cast<int64_t>(gridDim.x) * (kRowThreads / owners) * kTogether;
  }

  /** The same for all threads of a block. */
  PHSA_DEVICE int turns() const {
    const int64_t first = begin - threadIdx.x / (headDim / 2 / N) * kTogether;
    return static_cast<int>((rows - first + stride - 1) / stride) * kTogether;
  }

  PHSA_DEVICE int64_t row(int turn) const { return begin + turn / kTogether * stride + turn % kTogether; }

  PHSA_DEVICE Pack<T, N>* slot(int turn, int tensor) const { return slots + (turn % kStages * kTensors + tensor) * 2 * kRowThreads; }

  /** Begins to copy the row of a turn. */
  PHSA_DEVICE void copy(int turn, int tensor, const void* tensorRows) const {
    if (row(turn) >= rows) return;
    const T* source = static_cast<const T*>(tensorRows) + row(turn) * headDim + at;
    beginCopy(slot(turn, tensor), source, 16);
    beginCopy(slot(turn, tensor) + kRowThreads, source + headDim / 2, 16);
  }

  PHSA_DEVICE Halves<T> read(int turn, int tensor) const { return {*slot(turn, tensor), *(slot(turn, tensor) + kRowThreads)}; }
};

template <typename T, typename W>
PHSA_DEVICE void qkNormRope(const QkNormRopeParams& params) {
  constexpr int N = kVector<T>;
  PHSA_DYNAMIC_SHARED(memory);
  const HeadRows<T, 1> heads(params, memory);
  const int half = params.headDim / 2;
  const bool isOneToken = params.heads % kTogether == 0;
  for (int turn = 0; turn < kStages - 1; turn++) {
    heads.copy(turn, 0, params.x);
    endCopies();
  }
  Weight<N> weight;
  weight.load(static_cast<const W*>(params.weight) + heads.at, half);
  Angles<N> angles = {};
  const int turns = heads.turns();
#pragma unroll 1
  for (int turn = 0; turn < turns; turn++) {
    const int64_t row = heads.row(turn);
    const bool isRow = row < params.rows;
    heads.copy(turn + kStages - 1, 0, params.x);
    endCopies();
    if (isRow && (turn % kTogether == 0 || !isOneToken)) angles.load(params, row, heads.at);
    waitForCopies<kStages - 1>();
    Halves<T> x = {};
    if (isRow) x = heads.read(turn, 0);
    float squares = 0.0f;
#pragma unroll
    for (int i = 0; i < N; i++) {
      const Sums pair = x.at(i);
      squares = fmaf(pair.first, pair.first, fmaf(pair.second, pair.second, squares));
    }
    const float inverse = inverseRms(laneSum(squares, half / N), params.headDim, params.epsilon);
    if (!isRow) continue;
    Sums y[N];
#pragma unroll
    for (int i = 0; i < N; i++) {
      const Sums pair = x.at(i);
      y[i] = angles.of(i).forward({pair.first * inverse * weight.first[i], pair.second * inverse * weight.second[i]});
    }
    storeHalves(static_cast<T*>(params.y), row * params.headDim + heads.at, half, y);
  }
}

template <typename T, typename W>
PHSA_DEVICE void qkNormRopeAny(const QkNormRopeParams& params) {
  const int half = params.headDim / 2;
  const int64_t row = static_cast<int64_t>(blockIdx.x) * kRowWarps + warpIndex();
  if (row >= params.rows) return;
  const T* x = static_cast<const T*>(params.x) + row * params.headDim;
  const W* weight = static_cast<const W*>(params.weight);
  T* y = static_cast<T*>(params.y) + row * params.headDim;
  float squares = 0.0f;
  for (int at = laneIndex(); at < params.headDim; at += kLanes) squares = fmaf(toFloat(x[at]), toFloat(x[at]), squares);
  const float inverse = inverseRms(warpSum(squares), params.headDim, params.epsilon);
  const int64_t angles = tableRow(params, row);
  for (int at = laneIndex(); at < half; at += kLanes) {
    const Sums pair = {toFloat(x[at]) * inverse * toFloat(weight[at]), toFloat(x[at + half]) * inverse * toFloat(weight[at + half])};
    const Sums rotated = Rotation{params.cos[angles + at], params.sin[angles + at]}.forward(pair);
    y[at] = fromFloat<T>(rotated.first);
    y[at + half] = fromFloat<T>(rotated.second);
  }
}

template <typename T, typename W>
PHSA_DEVICE void qkNormRopeBackward(const QkNormRopeBackwardParams& params) {
  constexpr int N = kVector<T>;
  PHSA_DYNAMIC_SHARED(memory);
  const HeadRows<T, 2> heads(params, memory);
  const int half = params.headDim / 2;
  const int owners = half / N;
  const int at = heads.at;
  const bool isOneToken = params.heads % kTogether == 0;
  const auto copy = [&](int turn) {
    heads.copy(turn, 0, params.x);
    heads.copy(turn, 1, params.dy);
    endCopies();
  };
  for (int turn = 0; turn < kStages - 1; turn++) copy(turn);
  Weight<N> weight;
  weight.load(static_cast<const W*>(params.weight) + at, half);
  Weight<N> sums = {};
  Angles<N> angles = {};
  const int turns = heads.turns();
#pragma unroll 1
  for (int turn = 0; turn < turns; turn++) {
    const int64_t row = heads.row(turn);
    const bool isRow = row < params.rows;
    copy(turn + kStages - 1);
    if (isRow && (turn % kTogether == 0 || !isOneToken)) angles.load(params, row, at);
    waitForCopies<kStages - 1>();
    Halves<T> x = {}, dy = {};
    if (isRow) {
      x = heads.read(turn, 0);
      dy = heads.read(turn, 1);
    }
    float squares = 0.0f;
    float products = 0.0f;
#pragma unroll
    for (int i = 0; i < N; i++) {
      const Sums value = x.at(i);
      const Sums change = angles.of(i).back(dy.at(i));
      squares = fmaf(value.first, value.first, fmaf(value.second, value.second, squares));
      products = fmaf(value.first, change.first * weight.first[i], fmaf(value.second, change.second * weight.second[i], products));
    }
    const float inverse = inverseRms(laneSum(squares, owners), params.headDim, params.epsilon);
    const float shift = inverse * inverse * laneSum(products, owners) / params.headDim;
    if (!isRow) continue;
    Sums dx[N];
#pragma unroll
    for (int i = 0; i < N; i++) {
      const Sums value = x.at(i);
      const Sums change = angles.of(i).back(dy.at(i));
      sums.first[i] = fmaf(change.first, value.first * inverse, sums.first[i]);
      sums.second[i] = fmaf(change.second, value.second * inverse, sums.second[i]);
      dx[i] = {inverse * (change.first * weight.first[i] - value.first * shift),
               inverse * (change.second * weight.second[i] - value.second * shift)};
    }
    storeHalves(static_cast<T*>(params.dx), row * params.headDim + at, half, dx);
  }

  // Rows of the same warp, then one warp after the other.
  for (int offset = kLanes / 2; offset >= owners; offset /= 2) {
#pragma unroll
    for (int i = 0; i < N; i++) {
      sums.first[i] += __shfl_xor_sync(kWholeWarp, sums.first[i], offset);
      sums.second[i] += __shfl_xor_sync(kWholeWarp, sums.second[i], offset);
    }
  }
  __shared__ float total[2 * kLanes * N];
  for (int warp = 0; warp < kRowWarps; warp++) {
    if (warpIndex() == warp && laneIndex() < owners) {
#pragma unroll
      for (int i = 0; i < N; i++) {
        total[at + i] = warp == 0 ? sums.first[i] : total[at + i] + sums.first[i];
        total[half + at + i] = warp == 0 ? sums.second[i] : total[half + at + i] + sums.second[i];
      }
    }
    __syncthreads();
  }
  float* partial = params.partials + static_cast<int64_t>(blockIdx.x) * params.headDim;
  for (int index = threadIdx.x; index < params.headDim; index += kRowThreads) partial[index] = total[index];
}

template <typename T, typename W>
PHSA_DEVICE void qkNormRopeBackwardAny(const QkNormRopeBackwardParams& params) {
  const int half = params.headDim / 2;
  const int64_t item = static_cast<int64_t>(blockIdx.x) * kRowWarps + warpIndex();
  const W* weight = static_cast<const W*>(params.weight);
  float* partial = params.partials + item * params.headDim;
  // A lane sums the same elements in each row.
  for (int at = laneIndex(); at < half; at += kLanes) partial[at] = partial[at + half] = 0.0f;
  for (int64_t row = item; row < params.rows; row += static_cast<int64_t>(gridDim.x) * kRowWarps) {
    const T* x = static_cast<const T*>(params.x) + row * params.headDim;
    const T* dy = static_cast<const T*>(params.dy) + row * params.headDim;
    T* dx = static_cast<T*>(params.dx) + row * params.headDim;
    const int64_t angles = tableRow(params, row);
    float squares = 0.0f;
    float products = 0.0f;
    for (int at = laneIndex(); at < half; at += kLanes) {
      const Sums value = {toFloat(x[at]), toFloat(x[at + half])};
      const Sums change = Rotation{params.cos[angles + at], params.sin[angles + at]}.back({toFloat(dy[at]), toFloat(dy[at + half])});
      squares = fmaf(value.first, value.first, fmaf(value.second, value.second, squares));
      products = fmaf(value.first, change.first * toFloat(weight[at]), fmaf(value.second, change.second * toFloat(weight[at + half]), products));
    }
    const float inverse = inverseRms(warpSum(squares), params.headDim, params.epsilon);
    const float shift = inverse * inverse * warpSum(products) / params.headDim;
    for (int at = laneIndex(); at < half; at += kLanes) {
      const Sums value = {toFloat(x[at]), toFloat(x[at + half])};
      const Sums change = Rotation{params.cos[angles + at], params.sin[angles + at]}.back({toFloat(dy[at]), toFloat(dy[at + half])});
      partial[at] = fmaf(change.first, value.first * inverse, partial[at]);
      partial[at + half] = fmaf(change.second, value.second * inverse, partial[at + half]);
      dx[at] = fromFloat<T>(inverse * (change.first * toFloat(weight[at]) - value.first * shift));
      dx[at + half] = fromFloat<T>(inverse * (change.second * toFloat(weight[at + half]) - value.second * shift));
    }
  }
}

#define INSTANCE(SUFFIX, T, W)                                                                                            \
  PHSA_KERNEL(qk_norm_rope_##SUFFIX##_vector, QkNormRopeParams, kRowThreads, qkNormRope<T, W>)                            \
  PHSA_KERNEL(qk_norm_rope_##SUFFIX##_any, QkNormRopeParams, kRowThreads, qkNormRopeAny<T, W>)                            \
  PHSA_KERNEL(qk_norm_rope_backward_##SUFFIX##_vector, QkNormRopeBackwardParams, kRowThreads, qkNormRopeBackward<T, W>)   \
  PHSA_KERNEL(qk_norm_rope_backward_##SUFFIX##_any, QkNormRopeBackwardParams, kRowThreads, qkNormRopeBackwardAny<T, W>)
INSTANCE(f32_f32, float, float)
INSTANCE(bf16_bf16, bf16, bf16)
INSTANCE(bf16_f32, bf16, float)
