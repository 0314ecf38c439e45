// select_decode_sm90.cu: the topK blocks of a few queries a sequence (spec 4), by one cluster of thread blocks a KV head and sequence.
//
// What select_paged.cu does, without a trip to memory in between: each thread block scores its share of the blocks and keeps the scores in shared
// memory; they exchange the sums of exponentials, each ranks its own best blocks, and one of them the best of all lists. For a step of decoding, where
// the time is that of accesses that wait for one another. Its registers leave room for the attention that follows, which begins beside it.
// Numerics as there, but for the order of the sums. Bound: bytes of the representatives.

// Few thread blocks share the GPU: more warps hide more of what each waits for.
#define PHSA_CHOICE_THREADS 512
#include "block_keys.cuh"
#include "choose_blocks.cuh"
#include "cluster.cuh"
#include "elements.cuh"
#include "overlap.cuh"
#include "paged_query.cuh"
#include "products.cuh"

struct SelectDecodeParams {
  const void* q;     // bf16 [Tq, Hq, D]
  const void* reps;  // f16 [blocks of all pages, Hkv, D]
  int* selected;     // [Hkv, Tq, topK]
  Sequences sequences;
  Rules rules;
  int tileQueries;  // of a tile, at most 8; 1: a tile is a row of q
  int capacity;     // blocks that a thread block has room for, a multiple of 16
};

/** Blocks that a thread block scores at a time, 16 a warp. */
constexpr int kChunk = 16 * kChoiceWarps;

/** Blocks that may be among a thread block's best; more are ties. */
constexpr int kMostTaken = 256;

/** One tile of queries that some sequence has, and the part of its blocks that is this thread block's, of C; so many chunks are on their way at once. */
template <int D, int N, int C, int kStages>
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
  int lastQuery;
  BlockRange last;  // candidates of the last query
  int scored;      // complete blocks of the last query
  int own;         // blocks of each thread block, a multiple of 16
  int pageBlocks;
  uint32_t ring;   // chunks on their way, see `fetch`
  float* scores;   // [8 N, own]

  static constexpr int kPieces = D / 32;
  /** Of a chunk: 64 KB for D 128. */
  static constexpr int kStageBytes = 2 * kPieces * kChoiceThreads * 16;

  struct alignas(16) Shared {
    uint4 queries[N][D / 32][kLanes];       // operands of products, of each lane
    ChoiceShared choice;
    uint64_t taken[kMostTaken];             // of this thread block, in no order
    uint64_t best[C * kMostSelected];       // of the query that this thread block chooses for: each one's best first, then 0
    float2 ofWarps[C * kChoiceWarps][8 * N];  // of all warps of the cluster
    float2 own[kChoiceWarps][8 * N];
    float logs[8 * N];
    uint64_t sums;   // mbarrier: ofWarps is whole
    uint64_t lists;  // mbarrier: best is whole
    float bound;
    int takenCount;
  };

  PHSA_DEVICE int complete(int query) const { return (firstQuery + query + 1) / rules.blockSize; }

  /** Row of a block's representative in its page; -1 where there is none. */
  PHSA_DEVICE int rowOf(int block) const { return block < scored ? blockRow(sequences, tile.sequence, block, pageBlocks) : -1; }

  /** Place of a piece that this thread brings in and, alone, reads. */
  PHSA_DEVICE uint32_t pieceOf(int stage, int half, int piece) const {
    return ring + stage * kStageBytes + ((half * kPieces + piece) * kChoiceThreads + threadIdx.x) * 16;
  }

  /** This thread's two rows of the chunk that begins at a block. */
  PHSA_DEVICE void locate(int chunk, int (&rows)[2]) const {
    const int tile = chunk + warpIndex() * 16;
#pragma unroll
    for (int half = 0; half < 2; half++) rows[half] = tile < own ? rowOf(rank * own + tile + laneIndex() / 4 + 8 * half) : -1;
  }

  PHSA_DEVICE void fetch(int stage, const int (&rows)[2]) const {
#pragma unroll
    for (int half = 0; half < 2; half++) {
      if (rows[half] < 0) continue;
      const int64_t row = static_cast<int64_t>(rows[half]) * rules.kvHeads + kvHead;
      const uint4* source = reinterpret_cast<const uint4*>(static_cast<const unsigned char*>(params.reps) + row * D * 2) + laneIndex() % 4;
#pragma unroll
      for (int piece = 0; piece < kPieces; piece++) copyAsync16(pieceOf(stage, half, piece), source + 4 * piece, true);
    }
    commitCopies();
  }

  /** The queries of a product's columns, by a warp: operands of each lane, in f16. */
  PHSA_DEVICE void loadQueries(Shared& shared, int n) const {
    const int column = 8 * n + laneIndex() / 4;
    const int64_t row = static_cast<int64_t>(tile.first + column / group) * rules.heads + kvHead * group + column % group;
    const uint4* source = reinterpret_cast<const uint4*>(static_cast<const bf16*>(params.q) + row * D) + laneIndex() % 4;
#pragma unroll
    for (int j = 0; j < D / 32; j++) {
      const uint4 eight = column < columns ? source[4 * j] : uint4{0, 0, 0, 0};
      const auto halves = [](uint32_t pair) { return boundedHalves(__uint_as_float(pair << 16), __uint_as_float(pair & 0xffff0000u)); };
      shared.queries[n][j][laneIndex()] = uint4{halves(eight.x), halves(eight.y), halves(eight.z), halves(eight.w)};
    }
  }

  /** Scores into shared memory, and for softmax the logarithm of each column's sum. Ends with a barrier, and all of the cluster have begun. */
  PHSA_DEVICE void score(Shared& shared) const {
    if (threadIdx.x == 0) {
      initBarrier(sharedAddress(&shared.sums), 1);
      initBarrier(sharedAddress(&shared.lists), 1);
      fenceBarrierInit();
      expectBytes(sharedAddress(&shared.sums), C * kChoiceWarps * columns * sizeof(float2));
      if (rank < tile.end - tile.first) expectBytes(sharedAddress(&shared.lists), C * foundOf(rank) * sizeof(uint64_t));
    }
    __syncwarp();
    arriveAtCluster();
    const int g = laneIndex() / 4;
    const int c = laneIndex() % 4;
    int begun[kStages][2];
#pragma unroll
    for (int stage = 0; stage < kStages; stage++) locate(stage * kChunk, begun[stage]);
    // The page table is older than what the kernel before may have written.
    waitForKernelBefore();
    letNextKernelBegin();
#pragma unroll
    for (int stage = 0; stage < kStages; stage++) fetch(stage, begun[stage]);
    int next[2];
    locate(kStages * kChunk, next);
    if (warpIndex() < N) loadQueries(shared, warpIndex());
    int counts[N][2];
    float largest[N][2];
    float totals[N][2];
#pragma unroll
    for (int n = 0; n < N; n++) {
#pragma unroll
      for (int i = 0; i < 2; i++) {
        const int other = 8 * n + 2 * c + i;
        counts[n][i] = (other < columns ? complete(other / group) : 0) - rank * own;
        largest[n][i] = -INFINITY;
        totals[n][i] = 0.0f;
      }
    }
    __syncthreads();
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
          const uint4 query = shared.queries[n][j][laneIndex()];
          multiplyHalf(products[n][0], low, query.x, query.y);
          multiplyHalf(products[n][1], high, query.z, query.w);
        }
      }
      fetch(stage, next);
      locate(chunk + (kStages + 1) * kChunk, next);
      stage = stage == kStages - 1 ? 0 : stage + 1;
      if (chunk + warpIndex() * 16 >= own) continue;
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
    if (rules.score == kSoftmax) {
      shareSums(shared, largest, totals);
    } else {
      waitForCluster();
      __syncthreads();
    }
  }

  /** Logarithms of base 2 of the columns' sums. */
  PHSA_DEVICE void shareSums(Shared& shared, const float (&largest)[N][2], const float (&totals)[N][2]) const {
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
        if (laneIndex() < 4) shared.own[warpIndex()][8 * n + 2 * laneIndex() + i] = float2{both, total};
      }
    }
    __syncwarp();
    // Each warp gives its sums to all thread blocks, which must have begun.
    waitForCluster();
    for (int index = laneIndex(); index < C * columns; index += kLanes) {
      const int column = index / C;
      sendTo(index % C, &shared.ofWarps[rank * kChoiceWarps + warpIndex()][column], shared.own[warpIndex()][column], &shared.sums);
    }
    waitForSent(&shared.sums);
    if (warpIndex() < columns) shared.logs[warpIndex()] = logOf(shared, warpIndex());
    __syncthreads();
  }

  /** Logarithm of base 2 of a column's sum, by a warp. */
  PHSA_DEVICE static float logOf(const Shared& shared, int column) {
    constexpr int kOwn = C * kChoiceWarps / kLanes;
    float2 sums[kOwn];
    float largest = -INFINITY;
#pragma unroll
    for (int i = 0; i < kOwn; i++) {
      sums[i] = shared.ofWarps[i * kLanes + laneIndex()][column];
      largest = fmaxf(largest, sums[i].x);
    }
    largest = warpMax(largest);
    float total = 0.0f;
#pragma unroll
    for (int i = 0; i < kOwn; i++) total += sums[i].x == -INFINITY ? 0.0f : sums[i].y * exp2f(sums[i].x - largest);
    return largest + log2f(warpSum(total));
  }

  /** Without a division where there is one query. */
  PHSA_DEVICE BlockRange candidatesAt(int index) const {
    if (index == lastQuery) return last;
    return candidateBlocks(rules, firstQuery + index, denseBelow);
  }

  /** How many blocks are chosen for a query. */
  PHSA_DEVICE int foundOf(int index) const {
    const BlockRange candidates = candidatesAt(index);
    return min(topK, candidates.end - candidates.start);
  }

  PHSA_DEVICE int* selectedOf(int index) const {
    return params.selected + (static_cast<int64_t>(kvHead) * sequences.queryTokens + tile.first + index) * rules.topK;
  }

  /** Candidates of a query among this thread block's. */
  PHSA_DEVICE BlockRange candidatesOf(int index) const {
    const BlockRange candidates = candidatesAt(index);
    const int start = max(candidates.start - rank * own, 0);
    return BlockRange{start, max(start, min(candidates.end - rank * own, own))};
  }

  /**
   * Adds up the heads of a query, and gives the best of this thread block's blocks to the one that chooses for the query, the best first. As many
   * maxima of four threads as blocks are chosen bound them: few others reach the bound. Ends with a barrier.
   */
  PHSA_DEVICE void giveBest(Shared& shared, int index) const {
    const BlockRange mine = candidatesOf(index);
    const int found = foundOf(index);
    if (found == 0) return;
    float* sums = scores + index * group * own;
    const float largest = addHeads(shared, index, mine);
    float ofFour = fmaxf(largest, __shfl_xor_sync(kWholeWarp, largest, 8));
    ofFour = fmaxf(ofFour, __shfl_xor_sync(kWholeWarp, ofFour, 16));
    if (laneIndex() < 8) shared.choice.maxima[warpIndex() * 8 + laneIndex()] = ofFour;
    if (threadIdx.x == 0) shared.takenCount = 0;
    __syncthreads();
    const int place = placeOfMaximum(shared.choice.maxima);
    if (place == found - 1) shared.bound = shared.choice.maxima[threadIdx.x / 4];
    __syncthreads();
    const float bound = shared.bound;
    if (largest >= bound) {
      for (int block = mine.start + static_cast<int>(threadIdx.x); block < mine.end; block += kChoiceThreads) {
        if (sums[block] < bound) continue;
        const int slot = atomicAdd(&shared.takenCount, 1);
        if (slot < kMostTaken) shared.taken[slot] = keyOf(sums[block], rank * own + block);
      }
    }
    __syncthreads();
    int count = shared.takenCount;
    if (count > kMostTaken) {
      // Ties, or fewer maxima than are chosen: exactly the best.
      count = min(found, mine.end - mine.start);
      BlockChoice choice{shared.choice, sums, own, 1, false, mine, count};
      choice.rank();
      if (threadIdx.x < count) {
        const int best = shared.choice.chosen[threadIdx.x];
        shared.taken[threadIdx.x] = keyOf(shared.choice.scores[best], rank * own + shared.choice.blocks[best]);
      }
      __syncthreads();
    }
    giveTaken(shared, index, count, found);
    __syncthreads();
  }

  /** Sums of a query's heads, each in the place of its first head's score. @returns the largest of this thread's */
  PHSA_DEVICE float addHeads(const Shared& shared, int index, const BlockRange& mine) const {
    float* sums = scores + index * group * own;
    const bool softmax = rules.score == kSoftmax;
    float largest = -INFINITY;
    for (int block = mine.start + static_cast<int>(threadIdx.x); block < mine.end; block += kChoiceThreads) {
      float sum = 0.0f;
      for (int h = 0; h < group; h++) {
        const float score = sums[h * own + block];
        sum += softmax ? exp2f(score - shared.logs[index * group + h]) : score;
      }
      sum = comparable(sum);
      sums[block] = sum;
      largest = fmaxf(largest, sum);
    }
    return largest;
  }

  /** Ranks what was taken, eight threads each, and gives the best of it. */
  PHSA_DEVICE void giveTaken(Shared& shared, int index, int count, int found) const {
    uint64_t* best = shared.best + rank * found;
    for (int first = 0; first < count; first += kChoiceThreads / 8) {
      const int at = first + threadIdx.x / 8;
      const uint64_t key = at < count ? shared.taken[at] : 0;
      int place = 0;
      for (int other = threadIdx.x % 8; other < count; other += 8) place += shared.taken[other] > key;
#pragma unroll
      for (int offset = 1; offset < 8; offset *= 2) place += __shfl_xor_sync(kWholeWarp, place, offset);
      if (at < count && place < found && threadIdx.x % 8 == 0) sendTo(index, best + place, key, &shared.lists);
    }
    for (int slot = count + static_cast<int>(threadIdx.x); slot < found; slot += kChoiceThreads) sendTo(index, best + slot, 0, &shared.lists);
  }

  /** A key that at least `found` of all lists reach, by each warp: so many of them have as many that reach it. */
  PHSA_DEVICE uint64_t boundOfLists(const Shared& shared, int found) const {
    const int level = min(found, 2 * ((found + C - 1) / C));
    const int lists = level == found ? 1 : C / 2;
    const uint64_t* keys = shared.best + level - 1;
    const int own = laneIndex() % C;
    const uint64_t key = keys[own * found];
    int place = 0;
#pragma unroll
    for (int other = 0; other < C; other++) place += keys[other * found] > key || (keys[other * found] == key && other < own);
    return __shfl_sync(kWholeWarp, key, __ffs(__ballot_sync(kWholeWarp, place == lists - 1)) - 1);
  }

  /** Chooses from what all gave; this thread block's query is the one of its rank. */
  PHSA_DEVICE void chooseBest(Shared& shared) const {
    const int found = foundOf(rank);
    if (found > 0) {
      waitForSent(&shared.lists);
      const int entries = C * found;
      const uint64_t bound = boundOfLists(shared, found);
      // Of 16 neighbours each warp has one, not always the same: the best of a list are in different warps.
      for (int base = 0; base * kChoiceWarps < entries; base += kLanes) {
        const int line = base + laneIndex();
        const int entry = line * kChoiceWarps + (warpIndex() + line) % kChoiceWarps;
        const uint64_t mine = entry < entries ? shared.best[entry] : 0;
        for (unsigned left = __ballot_sync(kWholeWarp, mine > 0 && mine >= bound); left != 0; left &= left - 1) {
          const uint64_t key = __shfl_sync(kWholeWarp, mine, __ffs(left) - 1);
          int place = 0;
#pragma unroll 8
          for (int other = laneIndex(); other < entries; other += kLanes) place += shared.best[other] > key;
          place = __reduce_add_sync(kWholeWarp, place);
          if (place < found && laneIndex() == 0) shared.choice.chosen[place] = blockOf(key);
        }
      }
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
#pragma unroll 8
      for (int other = 0; other < found; other++) place += shared.choice.chosen[other] < block;
      selected[place] = block;
    }
  }

  /** Where no query of the tile has more candidates than it may choose. */
  PHSA_DEVICE void takeAll() const {
    for (int index = 0; index < tile.end - tile.first; index++) {
      const int found = foundOf(index);
      for (int slot = threadIdx.x; slot < rules.topK; slot += kChoiceThreads) selectedOf(index)[slot] = slot < found ? rules.initBlocks + slot : -1;
    }
  }

  PHSA_DEVICE void run(Shared& shared, const Query& query) {
    lastQuery = tile.end - tile.first - 1;
    firstQuery = query.position - lastQuery;
    topK = query.topK;
    denseBelow = query.denseBelow;
    scored = (query.position + 1) / rules.blockSize;
    pageBlocks = sequences.pageTokens / rules.blockSize;
    own = ((scored + C - 1) / C + 15) / 16 * 16;
    last = candidateBlocks(rules, query.position, query.denseBelow);
    if (topK == 0 || last.end - last.start <= topK) {
      waitForKernelBefore();
      letNextKernelBegin();
      if (rank == 0) takeAll();
      return;
    }
    score(shared);
    for (int index = 0; index < tile.end - tile.first; index++) giveBest(shared, index);
    if (rank < tile.end - tile.first) chooseBest(shared);
  }
};

template <int D, int N, int C, int kStages>
PHSA_DEVICE void selectDecode(const SelectDecodeParams& params) {
  PHSA_DYNAMIC_SHARED(dynamic);
  __shared__ typename DecodeSelection<D, N, C, kStages>::Shared shared;
  const Sequences& sequences = params.sequences;
  const int unit = blockIdx.x / C;
  const int kvHead = unit % params.rules.kvHeads;
  const int index = unit / params.rules.kvHeads;
  RowTile tile;
  Query last{-1, 0, 0, 0};
  if (params.tileQueries == 1) {
    last = findPagedQuery(sequences, params.rules, index);
    tile = RowTile{last.sequence, index, index + 1};
  } else {
    tile = rowTile(sequences.queryStarts, sequences.sequences, sequences.queryTokens, params.tileQueries, index);
    if (tile.first >= tile.end) return;
    if (tile.sequence < sequences.sequences) last = queryOf(sequences, params.rules, tile.sequence, tile.end - 1);
  }
  const int rank = clusterRank();
  const int topK = params.rules.topK;
  if (last.sequence < 0) {
    if (rank > 0) return;
    waitForKernelBefore();
    int* unused = params.selected + (static_cast<int64_t>(kvHead) * sequences.queryTokens + tile.first) * topK;
    for (int slot = threadIdx.x; slot < (tile.end - tile.first) * topK; slot += kChoiceThreads) unused[slot] = -1;
    return;
  }
  DecodeSelection<D, N, C, kStages> selection{params, sequences, params.rules, tile, kvHead, rank, params.rules.heads / params.rules.kvHeads};
  selection.columns = (tile.end - tile.first) * selection.group;
  selection.scores = reinterpret_cast<float*>(dynamic);
  selection.ring = sharedAddress(dynamic) + params.capacity * params.tileQueries * selection.group * sizeof(float);
  selection.run(shared, last);
}

#define KERNEL(NAME, D, N, C, STAGES)                                                                    \
  extern "C" __global__ void __cluster_dims__(C, 1, 1) __launch_bounds__(kChoiceThreads, (N) == 1 ? 2 : 1) \
      select_decode_sm90_d##D##_n##N##_##NAME(const __grid_constant__ SelectDecodeParams params) {       \
    selectDecode<D, N, C, STAGES>(params);                                                               \
  }
// Two thread blocks of a multiprocessor: one chooses while the other loads.
KERNEL(c2_paired, 128, 1, 2, 1)
KERNEL(c2, 128, 1, 2, 2)
KERNEL(c4, 128, 1, 4, 2)
KERNEL(c8, 128, 1, 8, 2)
KERNEL(c16, 128, 1, 16, 2)
KERNEL(c8, 128, 2, 8, 2)
