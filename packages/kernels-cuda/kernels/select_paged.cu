// select_paged.cu: the topK blocks of each query and KV head (spec 4) from the representatives of a paged cache, for any number of queries a sequence.
//
// A unit is a KV head and a tile of a sequence's queries whose heads, all together, are up to 8 N columns. Thread blocks share the blocks of a unit:
// a warp brings 16 representatives from their pages straight into the registers of one matrix product with all columns, keeps the sum of
// exponentials of each column and writes the scores. The last thread block of a unit then chooses (choose_blocks.cuh). The grid follows from capacities;
// what lies beyond a sequence's blocks is left at once.
// Numerics: f16 operands (representatives rounded once, when their block is complete), f32 sums. Bound: bytes of the representatives, 2 D a block and KV head.
#include "arrivals.cuh"
#include "choose_blocks.cuh"
#include "elements.cuh"
#include "overlap.cuh"
#include "products.cuh"

struct SelectPagedParams {
  const void* q;     // bf16 [Tq, Hq, D]
  const void* reps;  // f16 [blocks of all pages, Hkv, D]
  int* selected;     // [Hkv, Tq, topK]
  float* scores;     // [units, 8 N, capacity]
  float* sums;       // [units, 8 N, splits, 2]: the largest score in base 2, and the sum of exponentials above it
  int* arrivals;     // [units], 0
  Sequences sequences;
  Rules rules;
  int firstTile;
  int splits;       // thread blocks of a unit
  int capacity;     // blocks of a sequence, a multiple of 128
  int tileQueries;  // 8 N / G
};

/** Blocks that a thread block scores at a time. */
constexpr int kChunk = 16 * kChoiceWarps;

template <int D, int N>
struct PagedSelection {
  const SelectPagedParams& params;
  const Sequences& sequences;
  const Rules& rules;
  RowTile tile;
  int kvHead;
  int split;
  int64_t unit;
  int group;
  int columns;  // in use
  int scored;   // complete blocks of the last query
  int pageBlocks;
  uint32_t queries[N][D / 8];
  int complete[N][2];  // blocks that a column is scored against, of columns 8 n + 2 pair() and the next; 0 for those not in use
  float largest[N][2];
  float totals[N][2];

  PHSA_DEVICE PagedSelection(const SelectPagedParams& given, const RowTile& rows, int head, int part, int64_t place)
      : params(given), sequences(given.sequences), rules(given.rules), tile(rows), kvHead(head), split(part), unit(place) {
    group = rules.heads / rules.kvHeads;
    columns = (tile.end - tile.first) * group;
    scored = completeBlocks(tile.end - tile.first - 1);
    pageBlocks = sequences.pageTokens / rules.blockSize;
  }

  PHSA_DEVICE int group8() const { return laneIndex() / 4; }

  PHSA_DEVICE int pair() const { return laneIndex() % 4; }

  PHSA_DEVICE int completeBlocks(int query) const { return (queryOf(sequences, rules, tile.sequence, tile.first + query).position + 1) / rules.blockSize; }

  PHSA_DEVICE float* scoresOf(int column) const { return params.scores + (unit * 8 * N + column) * params.capacity; }

  PHSA_DEVICE float* sumsOf(int column, int part) const { return params.sums + ((unit * 8 * N + column) * params.splits + part) * 2; }

  /** The columns of this lane: 8 n + group8(). */
  PHSA_DEVICE void loadQueries() {
#pragma unroll
    for (int n = 0; n < N; n++) {
      const int column = 8 * n + group8();
      const int64_t row = static_cast<int64_t>(tile.first + column / group) * rules.heads + kvHead * group + column % group;
      const uint4* source = reinterpret_cast<const uint4*>(static_cast<const bf16*>(params.q) + row * D) + pair();
#pragma unroll
      for (int j = 0; j < D / 32; j++) {
        const uint4 eight = column < columns ? source[4 * j] : uint4{0, 0, 0, 0};
        const uint32_t words[4] = {eight.x, eight.y, eight.z, eight.w};
#pragma unroll
        for (int i = 0; i < 4; i++) queries[n][4 * j + i] = boundedHalves(__uint_as_float(words[i] << 16), __uint_as_float(words[i] & 0xffff0000u));
      }
#pragma unroll
      for (int i = 0; i < 2; i++) {
        const int own = 8 * n + 2 * pair() + i;
        complete[n][i] = own < columns ? completeBlocks(own / group) : 0;
        largest[n][i] = -INFINITY;
        totals[n][i] = 0.0f;
      }
    }
  }

  PHSA_DEVICE void loadRow(int block, uint4 (&row)[D / 32]) const {
    const bool used = block < scored;
    const int64_t at = used ? static_cast<int64_t>(blockRow(sequences, tile.sequence, block, pageBlocks)) * rules.kvHeads + kvHead : 0;
    const uint4* source = reinterpret_cast<const uint4*>(static_cast<const unsigned char*>(params.reps) + at * D * 2) + pair();
#pragma unroll
    for (int j = 0; j < D / 32; j++) row[j] = used ? source[4 * j] : uint4{0, 0, 0, 0};
  }

  /** Scores of the chunk's blocks with all columns. */
  PHSA_DEVICE void score(int chunk) {
    const int first = chunk * kChunk + warpIndex() * 16 + group8();
    uint4 rows[2][D / 32];
    loadRow(first, rows[0]);
    loadRow(first + 8, rows[1]);
    float products[N][4] = {};
#pragma unroll
    for (int j = 0; j < D / 32; j++) {
      const uint32_t low[4] = {rows[0][j].x, rows[1][j].x, rows[0][j].y, rows[1][j].y};
      const uint32_t high[4] = {rows[0][j].z, rows[1][j].z, rows[0][j].w, rows[1][j].w};
#pragma unroll
      for (int n = 0; n < N; n++) {
        multiplyHalf(products[n], low, queries[n][4 * j], queries[n][4 * j + 1]);
        multiplyHalf(products[n], high, queries[n][4 * j + 2], queries[n][4 * j + 3]);
      }
    }
    const float scale = rules.scale * 1.44269504f;
#pragma unroll
    for (int n = 0; n < N; n++) {
#pragma unroll
      for (int i = 0; i < 2; i++) {
        const float scores[2] = {products[n][i] * scale, products[n][i + 2] * scale};
#pragma unroll
        for (int half = 0; half < 2; half++) {
          const int block = first + 8 * half;
          if (block >= complete[n][i]) continue;
          scoresOf(8 * n + 2 * pair() + i)[block] = scores[half];
          add(largest[n][i], totals[n][i], scores[half], 1.0f);
        }
      }
    }
  }

  /** Adds a sum of exponentials of base 2, given above its largest exponent. */
  PHSA_DEVICE static void add(float& most, float& total, float otherMost, float otherTotal) {
    const float both = fmaxf(most, otherMost);
    if (both == -INFINITY) return;
    total = total * exp2f(most - both) + otherTotal * exp2f(otherMost - both);
    most = both;
  }

  /** Writes each column's sum over the blocks of this thread block. Ends with a barrier. */
  PHSA_DEVICE void writeSums() {
    __shared__ float2 ofWarps[kChoiceWarps][8 * N];
#pragma unroll
    for (int n = 0; n < N; n++) {
#pragma unroll
      for (int i = 0; i < 2; i++) {
#pragma unroll
        for (int offset = 4; offset < kLanes; offset *= 2) {
          const float otherMost = __shfl_xor_sync(kWholeWarp, largest[n][i], offset);
          const float otherTotal = __shfl_xor_sync(kWholeWarp, totals[n][i], offset);
          // The same in both lanes: the lower one's comes first.
          const bool lower = (laneIndex() & offset) == 0;
          float most = lower ? largest[n][i] : otherMost;
          float total = lower ? totals[n][i] : otherTotal;
          add(most, total, lower ? otherMost : largest[n][i], lower ? otherTotal : totals[n][i]);
          largest[n][i] = most;
          totals[n][i] = total;
        }
        if (group8() == 0) ofWarps[warpIndex()][8 * n + 2 * pair() + i] = float2{largest[n][i], totals[n][i]};
      }
    }
    __syncthreads();
    const int column = threadIdx.x;
    if (column < columns) {
      float most = -INFINITY;
      float total = 0.0f;
      for (int warp = 0; warp < kChoiceWarps; warp++) add(most, total, ofWarps[warp][column].x, ofWarps[warp][column].y);
      *reinterpret_cast<float2*>(sumsOf(column, split)) = float2{most, total};
    }
  }

  /** Logarithms of base 2 of the sums of a query's heads. Ends with a barrier. */
  PHSA_DEVICE void findLogs(int query, int parts, float* logs) const {
    for (int head = warpIndex(); head < group; head += kChoiceWarps) {
      float most = -INFINITY;
      float total = 0.0f;
      for (int part = laneIndex(); part < parts; part += kLanes) {
        const float2 sum = __ldcg(reinterpret_cast<const float2*>(sumsOf(query * group + head, part)));
        add(most, total, sum.x, sum.y);
      }
      const float both = warpMax(most);
      total = warpSum(both == -INFINITY ? 0.0f : total * exp2f(most - both));
      if (laneIndex() == 0) logs[head] = both + log2f(total);
    }
    __syncthreads();
  }

  /** Chooses for each query of the tile, from what `parts` thread blocks left. */
  PHSA_DEVICE void choose(int parts) {
    __shared__ ChoiceShared shared;
    const bool softmax = rules.score == kSoftmax;
    for (int index = 0; index < tile.end - tile.first; index++) {
      const Query query = queryOf(sequences, rules, tile.sequence, tile.first + index);
      const BlockRange candidates = candidateBlocks(rules, query.position, query.denseBelow);
      int* selected = params.selected + (static_cast<int64_t>(kvHead) * sequences.queryTokens + tile.first + index) * rules.topK;
      const int found = min(query.topK, candidates.end - candidates.start);
      for (int place = threadIdx.x; place < rules.topK; place += kChoiceThreads) {
        // All candidates, where they are few; else those that are chosen are written over this.
        if (place >= found) selected[place] = -1;
        else if (found == candidates.end - candidates.start) selected[place] = candidates.start + place;
      }
      if (found == 0 || found == candidates.end - candidates.start) continue;
      if (softmax) findLogs(index, parts, shared.logs);
      BlockChoice choice{shared, scoresOf(index * group), params.capacity, group, softmax, candidates, found};
      choice.run(selected);
    }
  }

  PHSA_DEVICE void run() {
    const Query last = queryOf(sequences, rules, tile.sequence, tile.end - 1);
    const BlockRange candidates = candidateBlocks(rules, last.position, last.denseBelow);
    // Then no query of the tile has a choice: the others' candidates are fewer.
    const bool given = candidates.end - candidates.start <= last.topK || last.topK == 0;
    const int chunks = given ? 1 : (scored + kChunk - 1) / kChunk;
    const int parts = min(chunks, params.splits);
    if (split >= parts) return;
    if (!given) loadQueries();
    // The representatives alone are younger.
    waitForKernelBefore();
    letNextKernelBegin();
    if (!given) {
      for (int chunk = split; chunk < chunks; chunk += params.splits) score(chunk);
      if (rules.score == kSoftmax) writeSums();
    }
    if (arriveLast(params.arrivals + unit, parts)) choose(parts);
  }
};

template <int D, int N>
PHSA_DEVICE void selectPaged(const SelectPagedParams& params) {
  const Sequences& sequences = params.sequences;
  const int kvHead = blockIdx.x % params.rules.kvHeads;
  const int part = blockIdx.x / params.rules.kvHeads;
  const int split = part % params.splits;
  const int place = part / params.splits;
  const RowTile tile = rowTile(sequences.queryStarts, sequences.sequences, sequences.queryTokens, params.tileQueries, params.firstTile + place);
  if (tile.first >= tile.end) return;
  if (tile.sequence < sequences.sequences) {
    PagedSelection<D, N>(params, tile, kvHead, split, static_cast<int64_t>(place) * params.rules.kvHeads + kvHead).run();
    return;
  }
  if (split > 0) return;
  waitForKernelBefore();
  int* unused = params.selected + (static_cast<int64_t>(kvHead) * sequences.queryTokens + tile.first) * params.rules.topK;
  for (int index = threadIdx.x; index < (tile.end - tile.first) * params.rules.topK; index += kChoiceThreads) unused[index] = -1;
}

#define INSTANCE(D)                                                                        \
  PHSA_KERNEL(select_paged_d##D##_n1, SelectPagedParams, kChoiceThreads, selectPaged<D, 1>) \
  PHSA_KERNEL(select_paged_d##D##_n2, SelectPagedParams, kChoiceThreads, selectPaged<D, 2>) \
  PHSA_KERNEL(select_paged_d##D##_n4, SelectPagedParams, kChoiceThreads, selectPaged<D, 4>)
INSTANCE(32)
INSTANCE(64)
INSTANCE(128)
