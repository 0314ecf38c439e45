// select_blocks.cu: the topK blocks of each query and KV head (spec 4), packed and paged; also the overlapping kernels of InfLLM v2 (spec 8).
//
// A thread block owns up to 4 x 8 query heads: each of its 4 warps one or more queries of one KV head with all heads of the group. Tiles of 32
// representatives go through shared memory, one a lane; each lane keeps 8 heads' scores in registers. Two passes for the softmax: first the exact
// log-sum-exp of each head, then the scores again, their sum over the group, and the best so far of each query in shared memory. Logit
// scores need the second pass only. Never more than 32 scores a query are in memory.
// Numerics: inner products in f32 along D in order; tiles start at block 0 of the sequence and masked scores add nothing, so that a query's
// choice depends on its position alone and not on how the sequence was split. Bound: f32 multiply-adds, 2 L L / m x D a head.
#include "elements.cuh"
#include "sequences.cuh"
#include "top_blocks.cuh"

struct SelectParams {
  const void* q;      // [Tq, Hq, D]
  const float* reps;  // see representativeRow
  int* selected;      // [Hkv, Tq, topK]
  Sequences sequences;
  Rules rules;
  int queriesPerWarp;
  int rowsPerWarp;  // query heads a warp has room for: 8, or 16 for more than 8 heads in the group
};

/** Representatives of a tile, one a lane. */
constexpr int kTile = kLanes;
/** Query heads whose scores a lane keeps in registers at once. */
constexpr int kRows = 8;
/** Floats that keep the rows of a tile on different banks. */
constexpr int kPad = 4;

template <typename T, int D>
struct BlockSelection {
  const SelectParams& params;
  const Sequences& sequences;
  const Rules& rules;
  RowTile tile;
  int kvHead;
  int group;
  float* queries;     // [4 * rowsPerWarp, D]
  float* tileRows;    // [32, D + 4]
  float* sums;        // [4 * queriesPerWarp, 33]: scores of the tile summed over the group; the last is that before the tile
  float* rowLogs;     // [4 * rowsPerWarp]: log-sum-exp of each query head
  float* bestScores;  // [4 * queriesPerWarp, topK]
  int* bestBlocks;

  PHSA_DEVICE BlockSelection(const SelectParams& given, const RowTile& rows, unsigned char* shared)
      : params(given), sequences(given.sequences), rules(given.rules), tile(rows), kvHead(blockIdx.y), group(rules.heads / rules.kvHeads) {
    const int queryCount = kWarps * params.queriesPerWarp;
    const int rowCount = kWarps * params.rowsPerWarp;
    queries = reinterpret_cast<float*>(shared);
    tileRows = queries + rowCount * D;
    sums = tileRows + kTile * (D + kPad);
    rowLogs = sums + queryCount * (kTile + 1);
    bestScores = rowLogs + rowCount;
    bestBlocks = reinterpret_cast<int*>(bestScores + queryCount * rules.topK);
  }

  PHSA_DEVICE Query query(int row) const { return queryOf(sequences, rules, tile.sequence, row); }

  /** Row of q of a warp's query, or -1. */
  PHSA_DEVICE int queryRow(int index) const {
    const int row = tile.first + warpIndex() * params.queriesPerWarp + index;
    return index < params.queriesPerWarp && row < tile.end ? row : -1;
  }

  /** Rows that a query at this position is scored against: sub-blocks of complete blocks, or kernels of two sub-blocks that are wholly past. */
  PHSA_DEVICE int scoredRows(int position) const {
    if (rules.score == kOverlap) return max(0, (position + 1) / (rules.blockSize / rules.representatives) - 1);
    return (position + 1) / rules.blockSize * rules.representatives;
  }

  /** Rows that a warp's query is scored against, 0 for none. */
  PHSA_DEVICE int scoredRowsOf(int index) const {
    const int row = queryRow(index);
    return row < 0 ? 0 : scoredRows(query(row).position);
  }

  PHSA_DEVICE void loadQueries() {
    const int rowCount = kWarps * params.rowsPerWarp;
    for (int element = threadIdx.x; element < rowCount * D; element += kThreads) {
      const int row = element / D;
      const int within = row % params.rowsPerWarp;
      const int queryIndex = tile.first + row / params.rowsPerWarp * params.queriesPerWarp + within / group;
      const bool used = within < params.queriesPerWarp * group && queryIndex < tile.end;
      const int64_t head = static_cast<int64_t>(queryIndex) * rules.heads + kvHead * group + within % group;
      queries[element] = used ? toFloat(static_cast<const T*>(params.q)[head * D + element % D]) : 0.0f;
    }
  }

  /** Loads 32 representatives, or means of two for overlapping kernels; rows from `end` on are 0. */
  PHSA_DEVICE void loadTile(int first, int end) {
    __syncthreads();
    for (int element = threadIdx.x * 4; element < kTile * D; element += kThreads * 4) {
      const int lane = element / D;
      const int d = element % D;
      const int row = first + lane;
      float values[4] = {};
      if (row < end) {
        loadElements(params.reps + representativeRow(sequences, rules, tile.sequence, kvHead, row) * D + d, values);
        if (rules.score == kOverlap) {
          float next[4];
          loadElements(params.reps + representativeRow(sequences, rules, tile.sequence, kvHead, row + 1) * D + d, next);
#pragma unroll
          for (int i = 0; i < 4; i++) values[i] = (values[i] + next[i]) * 0.5f;
        }
      }
      storeElements(tileRows + lane * (D + kPad) + d, values);
    }
    __syncthreads();
  }

  /**
   * Scaled scores of this lane's representative with 8 query heads of this warp. Never fused with what follows: a query's place in the tile
   * changes with the split of its sequence, its scores may not.
   */
  PHSA_DEVICE void score(int firstRow, float (&scores)[kRows]) const {
    const float* own = queries + (warpIndex() * params.rowsPerWarp + firstRow) * D;
    const float* representative = tileRows + laneIndex() * (D + kPad);
#pragma unroll
    for (int row = 0; row < kRows; row++) scores[row] = 0.0f;
    dotRows<D>(representative, own, scores);
#pragma unroll
    for (int row = 0; row < kRows; row++) scores[row] = __fmul_rn(scores[row], rules.scale);
  }

  /** First pass: log-sum-exp of each query head over the rows that its query is scored against. */
  PHSA_DEVICE void sumExponentials(int end) {
    for (int firstRow = 0; firstRow < params.rowsPerWarp; firstRow += kRows) {
      LogSum totals[kRows];
      int counts[kRows];
#pragma unroll
      for (int row = 0; row < kRows; row++) counts[row] = scoredRowsOf((firstRow + row) / group);
      for (int first = 0; first < end; first += kTile) {
        loadTile(first, end);
        float scores[kRows];
        score(firstRow, scores);
#pragma unroll
        for (int row = 0; row < kRows; row++) {
          if (first + laneIndex() < counts[row]) totals[row].add(scores[row]);
        }
      }
#pragma unroll
      for (int row = 0; row < kRows; row++) {
        totals[row].mergeLanes();
        if (laneIndex() == 0) rowLogs[warpIndex() * params.rowsPerWarp + firstRow + row] = totals[row].log();
      }
    }
    __syncwarp();
  }

  /** Scores of the tile summed over the heads of each query of this warp. */
  PHSA_DEVICE void sumOverGroup(int first) {
    const int lane = laneIndex();
    float* own = sums + warpIndex() * params.queriesPerWarp * (kTile + 1);
    for (int index = 0; index < params.queriesPerWarp; index++) {
      float* row = own + index * (kTile + 1);
      if (lane == kTile - 1) row[kTile] = row[kTile - 1];
      row[lane] = 0.0f;
    }
    for (int firstRow = 0; firstRow < params.queriesPerWarp * group; firstRow += kRows) {
      float scores[kRows];
      score(firstRow, scores);
#pragma unroll
      for (int row = 0; row < kRows; row++) {
        const int within = firstRow + row;
        const int index = within / group;
        if (index >= params.queriesPerWarp || first + lane >= scoredRowsOf(index)) continue;
        const float log = rowLogs[warpIndex() * params.rowsPerWarp + within];
        own[index * (kTile + 1) + lane] += rules.score == kLogit ? scores[row] : expf(scores[row] - log);
      }
    }
    __syncwarp();
  }

  /** Offers the blocks of the tile to each query of this warp. */
  PHSA_DEVICE void offerTile(int first) {
    const int lane = laneIndex();
    const int r = rules.representatives;
    const int block = (first + lane) / r;
    const bool leads = (first + lane) % r == 0;
    for (int index = 0; index < params.queriesPerWarp; index++) {
      const int row = queryRow(index);
      if (row < 0) break;
      const Query own = query(row);
      const BlockRange candidates = candidateBlocks(rules, own.position, own.denseBelow);
      const int slot = warpIndex() * params.queriesPerWarp + index;
      const float* tileSums = sums + slot * (kTile + 1);
      float score = comparable(tileSums[lane]);
      // The kernel before a block's first one reaches into it; unseen kernels count 0, which no softmax sum is below.
      if (rules.score == kOverlap && leads) score = fmaxf(score, tileSums[lane == 0 ? kTile : lane - 1]);
      for (int offset = 1; offset < r; offset *= 2) score = fmaxf(score, __shfl_xor_sync(kWholeWarp, score, offset));
      float* scores = bestScores + slot * rules.topK;
      int* blocks = bestBlocks + slot * rules.topK;
      const int last = own.topK - 1;
      const bool better = last >= 0 && leads && block >= candidates.start && block < candidates.end && (blocks[last] < 0 || score > scores[last]);
      const unsigned offered = __ballot_sync(kWholeWarp, better);
      if (offered == 0) continue;
      TopBlocks best;
      best.load(scores, blocks, rules.topK);
      best.offer(offered, score, block);
      best.store(scores, blocks, rules.topK);
      __syncwarp();
    }
  }

  PHSA_DEVICE void run() {
    const int lastPosition = query(tile.end - 1).position;
    const BlockRange candidates = candidateBlocks(rules, lastPosition, query(tile.end - 1).denseBelow);
    for (int index = laneIndex(); index < params.queriesPerWarp * rules.topK; index += kLanes) {
      bestBlocks[warpIndex() * params.queriesPerWarp * rules.topK + index] = -1;
    }
    for (int index = laneIndex(); index < params.queriesPerWarp * (kTile + 1); index += kLanes) {
      sums[warpIndex() * params.queriesPerWarp * (kTile + 1) + index] = 0.0f;
    }
    // The last query has all candidates that any query of the tile has.
    if (candidates.start < candidates.end) {
      const int scored = scoredRows(lastPosition);
      loadQueries();
      if (rules.score != kLogit) sumExponentials(scored);
      const int r = rules.representatives;
      const int first = max(0, candidates.start * r - 1) / kTile * kTile;
      for (int tileFirst = first; tileFirst < candidates.end * r; tileFirst += kTile) {
        loadTile(tileFirst, scored);
        sumOverGroup(tileFirst);
        offerTile(tileFirst);
      }
    }
    __syncwarp();
    for (int index = 0; index < params.queriesPerWarp; index++) {
      const int row = queryRow(index);
      if (row < 0) break;
      const int slot = (warpIndex() * params.queriesPerWarp + index) * rules.topK;
      TopBlocks best;
      best.load(bestScores + slot, bestBlocks + slot, rules.topK);
      best.write(selectedRow(row), min(query(row).topK, rules.topK), rules.topK);
    }
  }

  PHSA_DEVICE int* selectedRow(int row) const {
    return params.selected + (static_cast<int64_t>(kvHead) * sequences.queryTokens + row) * rules.topK;
  }
};

template <typename T, int D>
PHSA_DEVICE void selectBlocks(const SelectParams& params) {
  PHSA_DYNAMIC_SHARED(shared);
  const Sequences& sequences = params.sequences;
  const RowTile tile =
      rowTile(sequences.queryStarts, sequences.sequences, sequences.queryTokens, kWarps * params.queriesPerWarp, blockIdx.x);
  if (tile.first >= tile.end) return;
  BlockSelection<T, D> selection(params, tile, shared);
  if (tile.sequence < sequences.sequences) {
    selection.run();
    return;
  }
  int* unused = selection.selectedRow(tile.first);
  for (int index = threadIdx.x; index < (tile.end - tile.first) * params.rules.topK; index += kThreads) unused[index] = -1;
}

#define INSTANCE(SUFFIX, T, D) PHSA_KERNEL(select_blocks_##SUFFIX, SelectParams, kThreads, selectBlocks<T, D>)
PHSA_FOR_EACH_TYPE(INSTANCE)
