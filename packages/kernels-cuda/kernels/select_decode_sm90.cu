// select_decode_sm90.cu: the topK blocks of a few queries a sequence (spec 4), by one cluster of thread blocks a KV head and sequence.
//
// What select_paged.cu does, without a trip to memory in between: each thread block scores its share of the blocks and keeps the scores in shared
// memory; they exchange the sums of exponentials, each ranks its own best blocks, and one of them the best of all. For a step of decoding, where the
// time is that of accesses that wait for one another. Numerics as there, but for the order of the sums. Bound: bytes of the representatives.

// Few thread blocks share the GPU: more warps hide more of what each waits for.
#define PHSA_CHOICE_THREADS 512
#include "choose_blocks.cuh"
#include "cluster.cuh"
#include "elements.cuh"
#include "overlap.cuh"
#include "products.cuh"

struct SelectDecodeParams {
  const void* q;     // bf16 [Tq, Hq, D]
  const void* reps;  // f16 [blocks of all pages, Hkv, D]
  int* selected;     // [Hkv, Tq, topK]
  Sequences sequences;
  Rules rules;
  int tileQueries;  // of a tile, at most 8; 1: a tile is a row of q
  int capacity;     // blocks that a thread block has room for, a multiple of 256
};

/** Blocks that a thread block scores at a time, 16 a warp. */
constexpr int kChunk = 16 * kChoiceWarps;

/** One tile of queries that some sequence has, and the part of its blocks that is this thread block's, of C. */
template <int D, int N, int C>
struct DecodeSelection {
  const SelectDecodeParams& params;
  const Sequences& sequences;
  const Rules& rules;
  RowTile tile;
  int kvHead;
  int rank;
  int group;
  int columns;     // in use: queries x group
  int firstQuery;  // position
  int topK;
  int denseBelow;
  int scored;      // complete blocks of the last query
  int own;         // blocks of each thread block, a multiple of 256
  int pageBlocks;
  uint32_t ring;   // chunks on their way, see `fetch`
  float* scores;   // [8 N, own]

  /** Chunks on their way at once: each is 64 KB for D 128. */
  static constexpr int kStages = 2;
  static constexpr int kPieces = D / 32;
  static constexpr int kStageBytes = 2 * kPieces * kChoiceThreads * 16;

  struct Shared {
    ChoiceShared choice;
    float2 ofWarps[kChoiceWarps][8 * N];
    float2 ofBlocks[C][8 * N];
    float logs[8 * N];
    float maxima[C][kMaxima];  // of each query
    float bound;
    int taken;
    // Of the query that this thread block chooses for, what each gave: scores, and bits of the blocks.
    float2 best[C][kMostSelected];
    int counts[C];
  };

  PHSA_DEVICE int complete(int query) const { return (firstQuery + query + 1) / rules.blockSize; }

  PHSA_DEVICE const uint4* rowOf(int block) const {
    if (block >= scored) return nullptr;
    const int64_t row = static_cast<int64_t>(blockRow(sequences, tile.sequence, block, pageBlocks)) * rules.kvHeads + kvHead;
    return reinterpret_cast<const uint4*>(static_cast<const unsigned char*>(params.reps) + row * D * 2) + laneIndex() % 4;
  }

  /** Place of a piece that this thread brings in and, alone, reads. */
  PHSA_DEVICE uint32_t pieceOf(int stage, int half, int piece) const {
    return ring + stage * kStageBytes + ((half * kPieces + piece) * kChoiceThreads + threadIdx.x) * 16;
  }

  /** This thread's parts of the chunk that begins at a block: two rows, null where there is none. */
  PHSA_DEVICE void locate(int chunk, const uint4* (&rows)[2]) const {
    const int first = rank * own + chunk + warpIndex() * 16 + laneIndex() / 4;
#pragma unroll
    for (int half = 0; half < 2; half++) rows[half] = chunk < own ? rowOf(first + 8 * half) : nullptr;
  }

  PHSA_DEVICE void fetch(int stage, const uint4* const (&rows)[2]) const {
#pragma unroll
    for (int half = 0; half < 2; half++) {
      if (rows[half] == nullptr) continue;
#pragma unroll
      for (int piece = 0; piece < kPieces; piece++) copyAsync16(pieceOf(stage, half, piece), rows[half] + 4 * piece, true);
    }
    commitCopies();
  }

  /** Scores into shared memory, and each column's sum of exponentials. Ends with a barrier of the cluster. */
  PHSA_DEVICE void score(Shared& shared) const {
    arriveAtCluster();
    const int g = laneIndex() / 4;
    const int c = laneIndex() % 4;
    const uint4* begun[kStages][2];
#pragma unroll
    for (int stage = 0; stage < kStages; stage++) locate(stage * kChunk, begun[stage]);
    uint32_t queries[N][D / 8];
    int counts[N][2];
    float largest[N][2];
    float totals[N][2];
#pragma unroll
    for (int n = 0; n < N; n++) {
      const int column = 8 * n + g;
      const int64_t row = static_cast<int64_t>(tile.first + column / group) * rules.heads + kvHead * group + column % group;
      const uint4* source = reinterpret_cast<const uint4*>(static_cast<const bf16*>(params.q) + row * D) + c;
#pragma unroll
      for (int j = 0; j < D / 32; j++) {
        const uint4 eight = column < columns ? source[4 * j] : uint4{0, 0, 0, 0};
        const uint32_t words[4] = {eight.x, eight.y, eight.z, eight.w};
#pragma unroll
        for (int i = 0; i < 4; i++) queries[n][4 * j + i] = boundedHalves(__uint_as_float(words[i] << 16), __uint_as_float(words[i] & 0xffff0000u));
      }
#pragma unroll
      for (int i = 0; i < 2; i++) {
        const int other = 8 * n + 2 * c + i;
        counts[n][i] = (other < columns ? complete(other / group) : 0) - rank * own;
        largest[n][i] = -INFINITY;
        totals[n][i] = 0.0f;
      }
    }
    // Page table and queries are older than what the kernel before may have written.
    waitForKernelBefore();
    letNextKernelBegin();
#pragma unroll
    for (int stage = 0; stage < kStages; stage++) fetch(stage, begun[stage]);
    const uint4* next[2];
    locate(kStages * kChunk, next);
    const float scale = rules.scale * 1.44269504f;
    const int end = min(own, scored - rank * own);
    int stage = 0;
    for (int chunk = 0; chunk < end; chunk += kChunk) {
      waitForCopies<kStages - 1>();
      float products[N][2][4] = {};
#pragma unroll
      for (int j = 0; j < kPieces; j++) {
        const uint4 rows[2] = {loadShared16(pieceOf(stage, 0, j)), loadShared16(pieceOf(stage, 1, j))};
        const uint32_t low[4] = {rows[0].x, rows[1].x, rows[0].y, rows[1].y};
        const uint32_t high[4] = {rows[0].z, rows[1].z, rows[0].w, rows[1].w};
#pragma unroll
        for (int n = 0; n < N; n++) {
          multiplyHalf(products[n][0], low, queries[n][4 * j], queries[n][4 * j + 1]);
          multiplyHalf(products[n][1], high, queries[n][4 * j + 2], queries[n][4 * j + 3]);
        }
      }
      fetch(stage, next);
      locate(chunk + (kStages + 1) * kChunk, next);
      stage = stage == kStages - 1 ? 0 : stage + 1;
      const int first = chunk + warpIndex() * 16 + g;
#pragma unroll
      for (int n = 0; n < N; n++) {
#pragma unroll
        for (int i = 0; i < 2; i++) {
          const int column = 8 * n + 2 * c + i;
          if (column >= columns) continue;
          float values[2];
          float both = largest[n][i];
#pragma unroll
          for (int half = 0; half < 2; half++) {
            const int at = first + 8 * half;
            const float value = (products[n][0][i + 2 * half] + products[n][1][i + 2 * half]) * scale;
            scores[column * own + at] = value;
            values[half] = at < counts[n][i] ? value : -INFINITY;
            both = fmaxf(both, values[half]);
          }
          if (both == -INFINITY) continue;
          totals[n][i] = totals[n][i] * exp2f(largest[n][i] - both) + exp2f(values[0] - both) + exp2f(values[1] - both);
          largest[n][i] = both;
        }
      }
    }
    waitForCopies<0>();
#pragma unroll
    for (int n = 0; n < N; n++) {
#pragma unroll
      for (int i = 0; i < 2; i++) {
        float both = largest[n][i];
#pragma unroll
        for (int offset = 4; offset < kLanes; offset *= 2) both = fmaxf(both, __shfl_xor_sync(kWholeWarp, both, offset));
        float total = both == -INFINITY ? 0.0f : totals[n][i] * exp2f(largest[n][i] - both);
#pragma unroll
        for (int offset = 4; offset < kLanes; offset *= 2) total += __shfl_xor_sync(kWholeWarp, total, offset);
        if (g == 0) shared.ofWarps[warpIndex()][8 * n + 2 * c + i] = float2{both, total};
      }
    }
    __syncthreads();
    // Each thread block gives its sums to all, which must have begun.
    waitForCluster();
    for (int index = threadIdx.x; index < C * 8 * N; index += kChoiceThreads) {
      const int column = index % (8 * N);
      const float2 sum = merged<kChoiceWarps>([&](int warp) { return shared.ofWarps[warp][column]; });
      storeIn(index / (8 * N), &shared.ofBlocks[rank][column], sum);
    }
    syncCluster();
    if (threadIdx.x < 8 * N) {
      const float2 sum = merged<C>([&](int block) { return shared.ofBlocks[block][threadIdx.x]; });
      shared.logs[threadIdx.x] = sum.x + log2f(sum.y);
    }
    __syncthreads();
  }

  /** Sum of exponentials of base 2, given above their largest exponents. */
  template <int Count, typename SumOf>
  PHSA_DEVICE static float2 merged(SumOf sumOf) {
    float2 sums[Count];
    float both = -INFINITY;
#pragma unroll
    for (int i = 0; i < Count; i++) {
      sums[i] = sumOf(i);
      both = fmaxf(both, sums[i].x);
    }
    float total = 0.0f;
#pragma unroll
    for (int i = 0; i < Count; i++) total += both == -INFINITY ? 0.0f : sums[i].y * exp2f(sums[i].x - both);
    return float2{both, total};
  }

  /** A query of the tile, of what was loaded at the beginning: a load takes half a microsecond. */
  PHSA_DEVICE Query queryAt(int index) const { return Query{tile.sequence, firstQuery + index, topK, denseBelow}; }

  PHSA_DEVICE int* selectedOf(int index) const {
    return params.selected + (static_cast<int64_t>(kvHead) * sequences.queryTokens + tile.first + index) * rules.topK;
  }

  /** Candidates of a query among this thread block's. */
  PHSA_DEVICE BlockRange candidatesOf(const Query& query) const {
    const BlockRange candidates = candidateBlocks(rules, query.position, query.denseBelow);
    const int start = max(candidates.start - rank * own, 0);
    return BlockRange{start, max(start, min(candidates.end - rank * own, own))};
  }

  /** Adds up the heads of a query, in the row of its first, and gives maxima of groups of threads to all. */
  PHSA_DEVICE void addHeads(Shared& shared, int index) const {
    constexpr int kGroups = 8 / C;
    const BlockRange mine = candidatesOf(queryAt(index));
    float* sums = scores + index * group * own;
    float largest = -INFINITY;
    for (int block = threadIdx.x; block < mine.end; block += kChoiceThreads) {
      float sum = 0.0f;
      for (int h = 0; h < group; h++) {
        const float score = sums[h * own + block];
        sum += rules.score == kSoftmax ? exp2f(score - shared.logs[index * group + h]) : score;
      }
      sum = comparable(sum);
      sums[block] = sum;
      if (block >= mine.start) largest = fmaxf(largest, sum);
    }
#pragma unroll
    for (int offset = kGroups; offset < kLanes; offset *= 2) largest = fmaxf(largest, __shfl_xor_sync(kWholeWarp, largest, offset));
    if (laneIndex() < 8) {
      storeIn(laneIndex() / kGroups, &shared.maxima[index][rank * (kMaxima / C) + warpIndex() * kGroups + laneIndex() % kGroups], largest);
    }
  }

  /** Gives what may be among a query's best to the thread block that chooses for it: 64 at most. */
  PHSA_DEVICE void giveBest(Shared& shared, int index) const {
    const Query query = queryAt(index);
    const BlockRange all = candidateBlocks(rules, query.position, query.denseBelow);
    const BlockRange mine = candidatesOf(query);
    const int found = min(query.topK, all.end - all.start);
    const int place = rankOfMaximum(shared.maxima[index]);
    if (place == found - 1) shared.bound = shared.maxima[index][threadIdx.x / 4];
    if (threadIdx.x == 0) shared.taken = 0;
    __syncthreads();
    if (found == 0) return;
    float* sums = scores + index * group * own;
    const float bound = shared.bound;
    for (int block = mine.start + static_cast<int>(threadIdx.x); block < mine.end; block += kChoiceThreads) {
      if (sums[block] < bound) continue;
      const int slot = atomicAdd(&shared.taken, 1);
      if (slot < kMostSelected) storeIn(index, &shared.best[rank][slot], float2{sums[block], __int_as_float(rank * own + block)});
    }
    __syncthreads();
    int count = shared.taken;
    if (count > kMostSelected) {
      // Ties, or hardly any candidates elsewhere: exactly the best.
      count = min(query.topK, mine.end - mine.start);
      BlockChoice choice{shared.choice, sums, own, 1, false, mine, count};
      choice.rank();
      if (threadIdx.x < count) {
        const int best = shared.choice.chosen[threadIdx.x];
        storeIn(index, &shared.best[rank][threadIdx.x], float2{shared.choice.scores[best], __int_as_float(rank * own + shared.choice.blocks[best])});
      }
    }
    if (threadIdx.x == 0) storeIn(index, &shared.counts[rank], count);
    __syncthreads();
  }

  /** Chooses from what all gave; this thread block's query is the one of its rank. */
  PHSA_DEVICE void chooseBest(Shared& shared) const {
    const Query query = queryAt(rank);
    const BlockRange candidates = candidateBlocks(rules, query.position, query.denseBelow);
    const int found = min(query.topK, candidates.end - candidates.start);
    for (int own = threadIdx.x; found > 0 && own < C * kMostSelected; own += kChoiceThreads) {
      if (own % kMostSelected >= shared.counts[own / kMostSelected]) continue;
      const float2 mine = shared.best[own / kMostSelected][own % kMostSelected];
      const int block = __float_as_int(mine.y);
      int place = 0;
#pragma unroll
      for (int part = 0; part < C; part++) {
        const int count = shared.counts[part];
#pragma unroll 2
        for (int other = 0; other < count; other++) {
          const float2 theirs = shared.best[part][other];
          place += theirs.x > mine.x || (theirs.x == mine.x && __float_as_int(theirs.y) < block);
        }
      }
      if (place < found) shared.choice.chosen[place] = block;
    }
    __syncthreads();
    int* selected = selectedOf(rank);
    for (int slot = threadIdx.x; slot < rules.topK; slot += kChoiceThreads) {
      if (slot >= found) {
        selected[slot] = -1;
        continue;
      }
      const int block = shared.choice.chosen[slot];
      int place = 0;
#pragma unroll 4
      for (int other = 0; other < found; other++) place += shared.choice.chosen[other] < block;
      selected[place] = block;
    }
  }

  /** Where no query of the tile has more candidates than it may choose. */
  PHSA_DEVICE void takeAll() const {
    for (int index = 0; index < tile.end - tile.first; index++) {
      const Query query = queryAt(index);
      const BlockRange candidates = candidateBlocks(rules, query.position, query.denseBelow);
      const int found = min(query.topK, candidates.end - candidates.start);
      for (int slot = threadIdx.x; slot < rules.topK; slot += kChoiceThreads) selectedOf(index)[slot] = slot < found ? candidates.start + slot : -1;
    }
  }

  PHSA_DEVICE void run(Shared& shared) {
    const Query last = queryOf(sequences, rules, tile.sequence, tile.end - 1);
    firstQuery = last.position - (tile.end - tile.first - 1);
    topK = last.topK;
    denseBelow = last.denseBelow;
    scored = (last.position + 1) / rules.blockSize;
    pageBlocks = sequences.pageTokens / rules.blockSize;
    own = ((scored + C - 1) / C + kChunk - 1) / kChunk * kChunk;
    const BlockRange candidates = candidateBlocks(rules, last.position, last.denseBelow);
    if (last.topK == 0 || candidates.end - candidates.start <= last.topK) {
      waitForKernelBefore();
      letNextKernelBegin();
      if (rank == 0) takeAll();
      return;
    }
    score(shared);
    for (int index = 0; index < tile.end - tile.first; index++) addHeads(shared, index);
    syncCluster();
    for (int index = 0; index < tile.end - tile.first; index++) giveBest(shared, index);
    syncCluster();
    if (rank < tile.end - tile.first) chooseBest(shared);
  }
};

template <int D, int N, int C>
PHSA_DEVICE void selectDecode(const SelectDecodeParams& params) {
  PHSA_DYNAMIC_SHARED(dynamic);
  __shared__ typename DecodeSelection<D, N, C>::Shared shared;
  const Sequences& sequences = params.sequences;
  const int unit = blockIdx.x / C;
  const int kvHead = unit % params.rules.kvHeads;
  const int index = unit / params.rules.kvHeads;
  RowTile tile;
  if (params.tileQueries == 1) {
    tile = RowTile{lastStartAtMost(sequences.queryStarts, sequences.sequences + 1, index), index, index + 1};
  } else {
    tile = rowTile(sequences.queryStarts, sequences.sequences, sequences.queryTokens, params.tileQueries, index);
  }
  if (tile.first >= tile.end) return;
  const int rank = clusterRank();
  const int topK = params.rules.topK;
  if (tile.sequence == sequences.sequences) {
    if (rank > 0) return;
    waitForKernelBefore();
    int* unused = params.selected + (static_cast<int64_t>(kvHead) * sequences.queryTokens + tile.first) * topK;
    for (int slot = threadIdx.x; slot < (tile.end - tile.first) * topK; slot += kChoiceThreads) unused[slot] = -1;
    return;
  }
  DecodeSelection<D, N, C> selection{params, sequences, params.rules, tile, kvHead, rank, params.rules.heads / params.rules.kvHeads};
  selection.columns = (tile.end - tile.first) * selection.group;
  selection.ring = sharedAddress(dynamic);
  selection.scores = reinterpret_cast<float*>(dynamic + DecodeSelection<D, N, C>::kStages * DecodeSelection<D, N, C>::kStageBytes);
  selection.run(shared);
}

#define KERNEL(D, N, C)                                                                              \
  extern "C" __global__ void __cluster_dims__(C, 1, 1) __launch_bounds__(kChoiceThreads, 1)          \
      select_decode_sm90_d##D##_n##N##_c##C(const __grid_constant__ SelectDecodeParams params) {     \
    selectDecode<D, N, C>(params);                                                                   \
  }
KERNEL(128, 1, 2)
KERNEL(128, 1, 4)
KERNEL(128, 1, 8)
KERNEL(128, 2, 8)
