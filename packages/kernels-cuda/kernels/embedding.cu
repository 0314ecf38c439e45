// embedding.cu: rows of a table by id.
//
// A warp copies a row in units as large as the row's width allows, whatever the elements are; id -1 gives zeros.
// Bound: bytes, floor 2 times the rows at 4.3 TB/s.
#include "warp.cuh"

struct EmbeddingParams {
  const void* table;  // [V, E]
  const int* ids;     // [T]
  void* rows;         // [T, E]
  int tokens;         // T
  int units;          // of a row
};

struct alignas(16) Unit16 {
  uint32_t words[4];
};

template <typename Unit>
PHSA_DEVICE void embedding(const EmbeddingParams& params) {
  const int64_t token = static_cast<int64_t>(blockIdx.x) * kWarps + warpIndex();
  if (token >= params.tokens) return;
  const int id = params.ids[token];
  const Unit* source = static_cast<const Unit*>(params.table) + static_cast<int64_t>(max(id, 0)) * params.units;
  Unit* target = static_cast<Unit*>(params.rows) + token * params.units;
#pragma unroll 4
  for (int unit = laneIndex(); unit < params.units; unit += kLanes) target[unit] = id < 0 ? Unit{} : source[unit];
}

PHSA_KERNEL(embedding_16, EmbeddingParams, kThreads, embedding<Unit16>)
PHSA_KERNEL(embedding_4, EmbeddingParams, kThreads, embedding<uint32_t>)
PHSA_KERNEL(embedding_2, EmbeddingParams, kThreads, embedding<uint16_t>)
