// selected_lists.wgsl: what counting and filling the lists of queries by block have in common: `selected` inverted, for the gradients of k and v.
//
// Rows are cut into chunks, and each block of a KV head has a counter a chunk. Counts are sums of whole numbers, so their order does not matter; the
// order in the lists is that of the rows, so that the sums over them are the same each time.

struct Params {
  sequences: Sequences,
  rules: Rules,
  chunks: u32,
  chunkRows: u32,
}

/** No entry of `selected` that counts. */
const NO_COUNTER = 0xffffffffu;

@group(0) @binding(1) var<storage, read> selected: array<i32>;                      // [Hkv, Tq, topK]
@group(0) @binding(2) var<storage, read_write> counters: array<atomic<u32>>;        // [Hkv, blocks, chunks]
@group(0) @binding(8) var<uniform> params: Params;

/** The counter of an entry of a row: that of its block, or NO_COUNTER. */
fn counterOf(kvHead: u32, chunk: u32, row: u32, entry: u32) -> u32 {
  let query = findQuery(row);
  if (query.sequence == params.sequences.count || query.position < query.denseBelow) {
    return NO_COUNTER;
  }
  let block = selected[(kvHead * params.sequences.queryTokens + row) * params.rules.topK + entry];
  if (block < 0) {
    return NO_COUNTER;
  }
  let first = u32(sequenceNumbers[params.sequences.blockStarts + query.sequence]);
  return (kvHead * params.sequences.blocks + first + u32(block)) * params.chunks + chunk;
}
