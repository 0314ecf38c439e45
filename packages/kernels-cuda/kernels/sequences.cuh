// sequences.cuh: where queries, keys and representatives lie, packed or paged (spec 1, 6), and which keys a query sees (spec 4, 5).
#pragma once
#include "platform.cuh"

/** A packed layout, or a paged batch where keyStarts is null. All starts are read on the device: a captured step may rewrite them. */
struct Sequences {
  const int* queryStarts;  // [S + 1]
  const int* keyStarts;    // [S + 1], packed
  const int* blockStarts;  // [S + 1], packed; paged where block_starts.cu has numbered the blocks
  const int* keyLengths;   // [S], paged
  const int* pageTable;    // [S, pagesPerSequence], paged
  const int* topK;         // [S], paged
  const int* denseBelow;   // [S], paged
  int sequences;           // S
  int queryTokens;         // rows of q
  int keyTokens;           // rows of k, packed
  int blocks;              // blocks of the representatives, packed; those that are numbered, paged
  int pagesPerSequence;
  int pageTokens;
};

/** The numbers of a spec. */
struct Rules {
  int heads;
  int kvHeads;
  int blockSize;        // m
  int initBlocks;       // initTokens / m
  int localBlocks;      // localTokens / m
  int topK;             // last extent of `selected`
  int representatives;  // r
  int denseBelow;       // packed
  int score;            // see Score
  float scale;          // 1 / sqrt(D)
};

enum Score { kSoftmax = 0, kLogit = 1, kOverlap = 2 };

/** The last index below `count` whose start is at most `value`; starts ascend from 0. An empty sequence is never found for a row of it. */
PHSA_DEVICE int lastStartAtMost(const int* starts, int count, int value) {
  int low = 0;
  int high = count - 1;
  while (low < high) {
    const int middle = (low + high + 1) / 2;
    if (starts[middle] <= value) {
      low = middle;
    } else {
      high = middle - 1;
    }
  }
  return low;
}

/** A row of q. */
struct Query {
  int sequence;  // -1 for a row that belongs to none
  int position;
  int topK;
  int denseBelow;
};

PHSA_DEVICE int keyCount(const Sequences& sequences, int sequence) {
  return sequences.keyStarts ? sequences.keyStarts[sequence + 1] - sequences.keyStarts[sequence] : sequences.keyLengths[sequence];
}

/** Position of the first query of a sequence: queries are its last tokens. */
PHSA_DEVICE int firstPosition(const Sequences& sequences, int sequence) {
  return keyCount(sequences, sequence) - (sequences.queryStarts[sequence + 1] - sequences.queryStarts[sequence]);
}

PHSA_DEVICE Query queryOf(const Sequences& sequences, const Rules& rules, int sequence, int row) {
  Query query;
  query.sequence = sequence;
  query.position = firstPosition(sequences, sequence) + row - sequences.queryStarts[sequence];
  query.topK = sequences.topK ? min(sequences.topK[sequence], rules.topK) : rules.topK;
  query.denseBelow = sequences.denseBelow ? sequences.denseBelow[sequence] : rules.denseBelow;
  return query;
}

PHSA_DEVICE Query findQuery(const Sequences& sequences, const Rules& rules, int row) {
  const int sequence = row < 0 ? sequences.sequences : lastStartAtMost(sequences.queryStarts, sequences.sequences + 1, row);
  if (sequence == sequences.sequences) return Query{-1, 0, 0, 0};
  return queryOf(sequences, rules, sequence, row);
}

/** Row of k and v of a token of a sequence. */
PHSA_DEVICE int64_t keyRow(const Sequences& sequences, int sequence, int position) {
  if (sequences.keyStarts) return static_cast<int64_t>(sequences.keyStarts[sequence]) + position;
  const int page = sequences.pageTable[static_cast<int64_t>(sequence) * sequences.pagesPerSequence + position / sequences.pageTokens];
  return static_cast<int64_t>(page) * sequences.pageTokens + position % sequences.pageTokens;
}

/** Row [D] of a sub-block's representative: f32 [Hkv, blocks * r, D] packed, [sub-blocks of all pages, Hkv, D] paged. */
PHSA_DEVICE int64_t representativeRow(const Sequences& sequences, const Rules& rules, int sequence, int kvHead, int subBlock) {
  if (sequences.keyStarts) {
    return (static_cast<int64_t>(kvHead) * sequences.blocks + sequences.blockStarts[sequence]) * rules.representatives + subBlock;
  }
  const int tokens = rules.blockSize / rules.representatives;
  return keyRow(sequences, sequence, subBlock * tokens) / tokens * rules.kvHeads + kvHead;
}

/** Complete and unforced blocks: `start` up to, not including, `end` (spec 4). */
struct BlockRange {
  int start;
  int end;
};

PHSA_DEVICE BlockRange candidateBlocks(const Rules& rules, int position, int denseBelow) {
  const int start = rules.initBlocks;
  if (position < denseBelow) return BlockRange{start, start};
  return BlockRange{start, max(start, position / rules.blockSize - rules.localBlocks + 1)};
}

/** The keys that a query sees, numbered from 0 to count - 1: first tokens, selected blocks, local window. */
struct VisibleKeys {
  const int* selected;  // of this query and KV head
  int position;
  int blockSize;
  int initEnd;
  int selectedEnd;
  int localStart;
  int count;

  /** Position of a visible key, -1 past the last one, and for keys of a selected block that lie behind the query. */
  PHSA_DEVICE int at(int index) const {
    if (index >= count) return -1;
    if (index < initEnd) return index;
    if (index >= selectedEnd) return localStart + index - selectedEnd;
    const int within = index - initEnd;
    const int key = selected[within / blockSize] * blockSize + within % blockSize;
    return key <= position ? key : -1;
  }
};

/** @param selected the row of `selected` of this query and KV head, [topK] */
PHSA_DEVICE VisibleKeys visibleKeys(const Rules& rules, const Query& query, const int* selected) {
  const int end = query.position + 1;
  VisibleKeys keys;
  keys.selected = selected;
  keys.position = query.position;
  keys.blockSize = rules.blockSize;
  if (query.position < query.denseBelow) {
    keys.initEnd = 0;
    keys.selectedEnd = 0;
    keys.localStart = 0;
    keys.count = end;
    return keys;
  }
  int chosen = 0;
  while (chosen < rules.topK && selected[chosen] >= 0) chosen++;
  keys.initEnd = min(rules.initBlocks * rules.blockSize, end);
  keys.selectedEnd = keys.initEnd + chosen * rules.blockSize;
  keys.localStart = candidateBlocks(rules, query.position, query.denseBelow).end * rules.blockSize;
  keys.count = keys.selectedEnd + max(0, end - keys.localStart);
  return keys;
}

/** Consecutive rows of one sequence that a thread block works on together. */
struct RowTile {
  int sequence;  // S for rows that belong to none
  int first;
  int end;
};

/**
 * Tile `index` of those that cover each sequence by itself: sequence s has the tiles from starts[s] / size + s on, which is as many as it can need.
 * There are total / size + S + 1 in all; a tile may be empty. So the grid follows from capacities alone.
 */
PHSA_DEVICE RowTile rowTile(const int* starts, int sequences, int total, int size, int index) {
  int low = 0;
  int high = sequences;
  while (low < high) {
    const int middle = (low + high + 1) / 2;
    if (starts[middle] / size + middle <= index) {
      low = middle;
    } else {
      high = middle - 1;
    }
  }
  RowTile tile;
  tile.sequence = low;
  tile.first = starts[low] + (index - starts[low] / size - low) * size;
  tile.end = min(tile.first + size, low < sequences ? starts[low + 1] : total);
  return tile;
}
