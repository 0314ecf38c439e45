// sequences.wgsl: where queries, keys and representatives lie, packed or paged (spec 1, 6), and which keys a query sees (spec 4, 5).
//
// A kernel that includes it has `sequenceNumbers` at binding 0 and parameters that begin with `sequences: Sequences, rules: Rules`. All starts and
// lengths are read on the device: a recorded step may rewrite them.

/** Extents of a packed layout or a paged batch, and where each of its tensors begins in `sequenceNumbers`. */
struct Sequences {
  count: u32,             // S
  queryTokens: u32,       // rows of q
  keyTokens: u32,         // rows of k, packed
  blocks: u32,            // blocks of the representatives, packed
  isPaged: u32,           // 1 where keys lie in pages
  pagesPerSequence: u32,
  pageTokens: u32,
  queryStarts: u32,       // [S + 1]
  keyStarts: u32,         // packed: [S + 1]; paged: key lengths, [S]
  blockStarts: u32,       // packed: [S + 1]; paged: page table, [S, pagesPerSequence]
  topK: u32,              // paged: [S]
  denseBelow: u32,        // paged: [S]
}

/** The numbers of a spec that do not decide how a kernel is compiled. */
struct Rules {
  heads: u32,
  kvHeads: u32,
  blockSize: u32,         // m
  initBlocks: u32,        // initTokens / m
  localBlocks: u32,       // localTokens / m
  topK: u32,              // last extent of `selected`
  representatives: u32,   // r
  denseBelow: u32,        // packed
  score: u32,             // see SOFTMAX
  scale: f32,             // 1 / sqrt(D)
  padding0: u32,
  padding1: u32,
}

const SOFTMAX = 0u;
const LOGIT = 1u;
const OVERLAP = 2u;

@group(0) @binding(0) var<storage, read> sequenceNumbers: array<i32>;

fn queryStart(sequence: u32) -> u32 {
  return u32(sequenceNumbers[params.sequences.queryStarts + sequence]);
}

/** Keys of a sequence. */
fn keyCount(sequence: u32) -> u32 {
  let first = params.sequences.keyStarts + sequence;
  if (params.sequences.isPaged == 1u) {
    return u32(sequenceNumbers[first]);
  }
  return u32(sequenceNumbers[first + 1u] - sequenceNumbers[first]);
}

/** The last index up to S whose start, from `starts` in `sequenceNumbers`, is at most `value`; S for a row of no sequence. */
fn sequenceAt(starts: u32, value: u32) -> u32 {
  var low = 0u;
  var high = params.sequences.count;
  while (low < high) {
    let middle = (low + high + 1u) / 2u;
    if (u32(sequenceNumbers[starts + middle]) <= value) {
      low = middle;
    } else {
      high = middle - 1u;
    }
  }
  return low;
}

/** A row of q. */
struct Query {
  sequence: u32,     // S for a row that belongs to none
  position: u32,
  topK: u32,
  denseBelow: u32,
}

fn queryOf(sequence: u32, row: u32) -> Query {
  let start = queryStart(sequence);
  let own = queryStart(sequence + 1u) - start;
  var query = Query(sequence, keyCount(sequence) - own + row - start, params.rules.topK, params.rules.denseBelow);
  if (params.sequences.isPaged == 1u) {
    query.topK = min(u32(sequenceNumbers[params.sequences.topK + sequence]), params.rules.topK);
    query.denseBelow = u32(sequenceNumbers[params.sequences.denseBelow + sequence]);
  }
  return query;
}

fn findQuery(row: u32) -> Query {
  let sequence = sequenceAt(params.sequences.queryStarts, row);
  if (sequence == params.sequences.count) {
    return Query(sequence, 0u, 0u, 0u);
  }
  return queryOf(sequence, row);
}

/** Row of k and v of a token of a sequence. */
fn keyRow(sequence: u32, position: u32) -> u32 {
  if (params.sequences.isPaged == 1u) {
    let pageTokens = params.sequences.pageTokens;
    let page = sequenceNumbers[params.sequences.blockStarts + sequence * params.sequences.pagesPerSequence + position / pageTokens];
    return u32(page) * pageTokens + position % pageTokens;
  }
  return u32(sequenceNumbers[params.sequences.keyStarts + sequence]) + position;
}

/** Row [D] of a sub-block's representative: f32 [Hkv, blocks * r, D] packed, [sub-blocks of all pages, Hkv, D] paged. */
fn representativeRow(sequence: u32, kvHead: u32, subBlock: u32) -> u32 {
  if (params.sequences.isPaged == 1u) {
    let tokens = params.rules.blockSize / params.rules.representatives;
    return keyRow(sequence, subBlock * tokens) / tokens * params.rules.kvHeads + kvHead;
  }
  let first = u32(sequenceNumbers[params.sequences.blockStarts + sequence]);
  return (kvHead * params.sequences.blocks + first) * params.rules.representatives + subBlock;
}

/** Complete and unforced blocks: x up to, not including, y (spec 4). */
fn candidateBlocks(position: u32, denseBelow: u32) -> vec2u {
  let start = params.rules.initBlocks;
  if (position < denseBelow) {
    return vec2u(start, start);
  }
  let end = i32(position / params.rules.blockSize) - i32(params.rules.localBlocks) + 1;
  return vec2u(start, u32(max(i32(start), end)));
}

/** The keys that a query sees, numbered from 0 to count - 1: first tokens, selected blocks, local window. */
struct VisibleKeys {
  initEnd: u32,
  selectedEnd: u32,
  localStart: u32,
  count: u32,
}

/** @param chosen number of selected blocks, which stand first in the query's row of `selected` */
fn visibleKeys(query: Query, chosen: u32) -> VisibleKeys {
  let end = query.position + 1u;
  if (query.position < query.denseBelow) {
    return VisibleKeys(0u, 0u, 0u, end);
  }
  let initEnd = min(params.rules.initBlocks * params.rules.blockSize, end);
  let selectedEnd = initEnd + chosen * params.rules.blockSize;
  let localStart = candidateBlocks(query.position, query.denseBelow).y * params.rules.blockSize;
  return VisibleKeys(initEnd, selectedEnd, localStart, selectedEnd + end - min(end, localStart));
}
