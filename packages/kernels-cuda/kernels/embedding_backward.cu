// embedding_backward.cu: adds rows of gradients to the rows of a table that they came from, without a race: tokens come sorted by id (token_order.cu).
//
// A thread block owns 32 tokens in that order and up to 128 vectors of columns, and adds the rows of one id, a run, in token order. A run within the 32 goes
// to the table at once. Of a run that goes on beyond, each thread block leaves a partial sum, and the second kernel adds these up from the run's first one
// on, every eighth by the same warp: an id that is everywhere (padding, a full stop) is shared by many, and the order is the same each time.
// Bound: bytes, floor T E elements read and the table's touched rows read and written at 4.3 TB/s. Numerics: f32 sums, one rounding on store.
#include "elements.cuh"
#include "warp.cuh"

struct EmbeddingBackwardParams {
  const void* dOut;  // [T, E]
  const int* ids;    // [T]
  const int* order;  // [T]: tokens by id, -1 last
  void* dTable;      // [V, E], added to
  float* partials;   // [chunks, 2, E]: of the run that came from the chunk before, and of one that begins here and goes on
  int tokens;        // T
  int width;         // E
};

/** CHUNK, COLUMN_THREADS, JOIN_THREADS of embedding.ts. */
constexpr int kChunk = 32;
constexpr int kColumnThreads = 128;
constexpr int kJoinWarps = 8;
/** Rows that are under way at once, and rows of the table for the runs that end there. */
constexpr int kAhead = 4;

PHSA_DEVICE int idAt(const EmbeddingBackwardParams& params, int index) { return params.ids[params.order[index]]; }

template <typename G>
PHSA_DEVICE G* tableRow(const EmbeddingBackwardParams& params, int id, int column) {
  return static_cast<G*>(params.dTable) + static_cast<int64_t>(id) * params.width + column;
}

template <typename G, int N>
PHSA_DEVICE void storeSum(G* row, const Pack<G, N>& before, const float (&sums)[N]) {
  float values[N];
#pragma unroll
  for (int i = 0; i < N; i++) values[i] = toFloat(before.values[i]) + sums[i];
  storeElements(row, values);
}

PHSA_DEVICE float* partialRow(const EmbeddingBackwardParams& params, int64_t chunk, int which, int column) {
  return params.partials + (chunk * 2 + which) * params.width + column;
}

/** @tparam T element type of the rows; G: of the table; N: columns a thread */
template <typename T, typename G, int N>
PHSA_DEVICE void sumRuns(const EmbeddingBackwardParams& params) {
  // With the neighbours on both sides; -1 where there is none.
  __shared__ int ids[kChunk + 2];
  __shared__ int tokens[kChunk];
  const int chunk = blockIdx.x;
  const int start = chunk * kChunk;
  for (int i = threadIdx.x; i < kChunk + 2; i += kColumnThreads) {
    const int index = start + i - 1;
    const bool isToken = index >= 0 && index < params.tokens;
    const int token = isToken ? params.order[index] : -1;
    ids[i] = isToken ? params.ids[token] : -1;
    if (i > 0 && i <= kChunk) tokens[i - 1] = token;
  }
  __syncthreads();
  const int column = (blockIdx.y * kColumnThreads + threadIdx.x) * N;
  if (column >= params.width) return;

  float sums[N] = {};
  bool isOwn = ids[1] != ids[0];
  for (int first = 0; first < kChunk && ids[first + 1] >= 0; first += kAhead) {
    Pack<T, N> rows[kAhead];
    Pack<G, N> before[kAhead];
#pragma unroll
    for (int k = 0; k < kAhead; k++) {
      const int id = ids[first + k + 1];
      if (id < 0) continue;
      const int64_t at = static_cast<int64_t>(tokens[first + k]) * params.width + column;
      rows[k] = *reinterpret_cast<const Pack<T, N>*>(static_cast<const T*>(params.dOut) + at);
      if (ids[first + k + 2] != id) before[k] = *reinterpret_cast<const Pack<G, N>*>(tableRow<G>(params, id, column));
    }
#pragma unroll
    for (int k = 0; k < kAhead; k++) {
      const int own = first + k;
      const int id = ids[own + 1];
      if (id < 0) break;
#pragma unroll
      for (int i = 0; i < N; i++) sums[i] += toFloat(rows[k].values[i]);
      const bool goesOn = ids[own + 2] == id;
      if (goesOn && own + 1 < kChunk) continue;
      if (!isOwn) {
        storeElements(partialRow(params, chunk, 0, column), sums);
      } else if (goesOn) {
        storeElements(partialRow(params, chunk, 1, column), sums);
      } else {
        storeSum(tableRow<G>(params, id, column), before[k], sums);
      }
      isOwn = true;
#pragma unroll
      for (int i = 0; i < N; i++) sums[i] = 0.0f;
    }
  }
}

/** How many chunks from `chunk` on begin with an id that came from the one before: 32 of them are looked at together. */
PHSA_DEVICE int chunksOfRun(const EmbeddingBackwardParams& params, int chunk, int id) {
  for (int found = 0;; found += kLanes) {
    const int64_t index = static_cast<int64_t>(chunk + found + laneIndex()) * kChunk;
    const unsigned others = ~__ballot_sync(kWholeWarp, index < params.tokens && idAt(params, static_cast<int>(index)) == id);
    if (others != 0) return found + __ffs(static_cast<int>(others)) - 1;
  }
}

template <typename G, int N>
PHSA_DEVICE void joinRuns(const EmbeddingBackwardParams& params) {
  const int chunk = blockIdx.x;
  const int next = (chunk + 1) * kChunk;
  if (next >= params.tokens) return;
  const int id = idAt(params, next);
  if (id < 0 || idAt(params, next - 1) != id) return;
  // One that came from before is joined where it began.
  const int start = chunk * kChunk;
  if (idAt(params, start) == id && start > 0 && idAt(params, start - 1) == id) return;
  const int chunks = chunksOfRun(params, chunk + 1, id);
  const int column = (blockIdx.y * kLanes + laneIndex()) * N;
  __shared__ float parts[kJoinWarps][kLanes * N];
  if (column < params.width) {
    float sums[N] = {};
#pragma unroll 4
    for (int part = warpIndex(); part <= chunks; part += kJoinWarps) {
      float values[N];
      loadElements(partialRow(params, chunk + part, part == 0 ? 1 : 0, column), values);
#pragma unroll
      for (int i = 0; i < N; i++) sums[i] += values[i];
    }
#pragma unroll
    for (int i = 0; i < N; i++) parts[warpIndex()][laneIndex() * N + i] = sums[i];
  }
  __syncthreads();
  if (warpIndex() != 0 || column >= params.width) return;
  float sums[N] = {};
  for (int warp = 0; warp < kJoinWarps; warp++) {
#pragma unroll
    for (int i = 0; i < N; i++) sums[i] += parts[warp][laneIndex() * N + i];
  }
  G* row = tableRow<G>(params, id, column);
  storeSum(row, *reinterpret_cast<const Pack<G, N>*>(row), sums);
}

#define INSTANCE(SUFFIX, T, G)                                                                                           \
  PHSA_KERNEL(embedding_backward_##SUFFIX##_vector, EmbeddingBackwardParams, kColumnThreads, sumRuns<T, G, kVector<T>>)  \
  PHSA_KERNEL(embedding_backward_##SUFFIX##_any, EmbeddingBackwardParams, kColumnThreads, sumRuns<T, G, 1>)
INSTANCE(f32_f32, float, float)
INSTANCE(bf16_bf16, bf16, bf16)
INSTANCE(bf16_f32, bf16, float)
PHSA_KERNEL(embedding_join_f32_vector, EmbeddingBackwardParams, kJoinWarps * kLanes, joinRuns<float, 4>)
PHSA_KERNEL(embedding_join_f32_any, EmbeddingBackwardParams, kJoinWarps * kLanes, joinRuns<float, 1>)
PHSA_KERNEL(embedding_join_bf16_vector, EmbeddingBackwardParams, kJoinWarps * kLanes, joinRuns<bf16, 8>)
PHSA_KERNEL(embedding_join_bf16_any, EmbeddingBackwardParams, kJoinWarps * kLanes, joinRuns<bf16, 1>)
