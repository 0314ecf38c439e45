// dense_sums.wgsl: adds to dv, dk or dq what a chunk of dense_gradient.wgsl gives: probabilities or gradients of scores times the rows of dOut, q or k.
//
// The depth is what one sequence has of it in the chunk: for keys the queries of one head that see them, for queries the keys that they see. Each is
// added to by one workgroup at a time, so that the order is fixed. Numerics: f32.

/** 1: sums for queries, 0: for keys. */
override OF_QUERIES: u32;

@group(0) @binding(1) var<storage, read> pairs: array<vec4f>;               // [Hq, queries, keys]
@group(0) @binding(2) var<storage, read> right: array<Element4>;            // k, or dOut or q
@group(0) @binding(3) var<storage, read_write> sums: array<vec4f>;          // dq, or dv or dk

fn leftFour(first: u32) -> vec4f {
  return pairs[first / 4u];
}

fn rightFour(first: u32) -> Element4 {
  return right[first / 4u];
}

/** Rows are those of the tensor. Own: row behind the tile, heads of the tensor, the tile's head. */
fn placeOf(index: u32) -> Place {
  let columnTiles = HEAD_DIM / TILE;
  let column = index % columnTiles * TILE;
  if (OF_QUERIES == 1u) {
    return placeOfQueries(index / columnTiles, column);
  }
  return placeOfKeys(index / columnTiles, column);
}

fn placeOfQueries(index: u32, column: u32) -> Place {
  let head = index / params.queryTiles;
  if (head >= params.rules.heads) {
    return Place();
  }
  let row = index % params.queryTiles;
  let tile = rowTile(params.sequences.queryStarts, TILE, params.firstQueryTile + row);
  if (tile.count == 0u) {
    return Place();
  }
  // Keys of the sequence, those of them that lie in the chunk, and those that are seen.
  let inChunk = partInChunk(firstTile(params.sequences.keyStarts, tile.sequence), params.firstKeyTile, params.keyTiles);
  let end = min(inChunk.end, firstPosition(tile.sequence) + tile.first + tile.count);
  if (inChunk.first >= end) {
    return Place();
  }
  let left = (head * params.queryTiles + row) * TILE * params.keyTiles * TILE + inChunk.slot;
  let right = keyRow(tile.sequence, inChunk.first) * params.rules.kvHeads + head / GROUP;
  let firstRow = queryStart(tile.sequence) + tile.first;
  return Place(
    true, firstRow, column, end - inChunk.first, left, params.keyTiles * TILE, right * HEAD_DIM + column, params.rules.kvHeads * HEAD_DIM,
    vec4u(firstRow + tile.count, params.rules.heads, head, 0u));
}

fn placeOfKeys(index: u32, column: u32) -> Place {
  let kvHead = index / params.keyTiles;
  if (kvHead >= params.rules.kvHeads) {
    return Place();
  }
  let row = index % params.keyTiles;
  let tile = rowTile(params.sequences.keyStarts, TILE, params.firstKeyTile + row);
  if (tile.count == 0u) {
    return Place();
  }
  let start = queryStart(tile.sequence);
  let inChunk = partInChunk(firstTile(params.sequences.queryStarts, tile.sequence), params.firstQueryTile, params.queryTiles);
  // The first query that sees a key, with those before it in its step of the depth.
  let position = firstPosition(tile.sequence);
  let first = max(inChunk.first, (max(tile.first, position) - position) / TILE_DEPTH * TILE_DEPTH);
  let end = min(inChunk.end, queryStart(tile.sequence + 1u) - start);
  if (first >= end) {
    return Place();
  }
  let head = kvHead * GROUP + params.member;
  let left = ((head * params.queryTiles * TILE + inChunk.slot + first - inChunk.first) * params.keyTiles + row) * TILE;
  let right = (start + first) * params.rules.heads + head;
  let firstRow = keyRow(tile.sequence, tile.first);
  return Place(
    true, firstRow, column, end - first, left, params.keyTiles * TILE, right * HEAD_DIM + column, params.rules.heads * HEAD_DIM,
    vec4u(firstRow + tile.count, params.rules.kvHeads, kvHead, 0u));
}

/** The part of a sequence that lies in a chunk. */
struct Part {
  first: u32,  // of the sequence
  end: u32,    // likewise; perhaps behind the sequence
  slot: u32,   // row of the first one in the chunk
}

/** @param tile the sequence's first */
fn partInChunk(tile: u32, firstTile: u32, tiles: u32) -> Part {
  let end = firstTile + tiles;
  if (tile >= end) {
    return Part();
  }
  let first = max(tile, firstTile);
  return Part((first - tile) * TILE, (end - tile) * TILE, (first - firstTile) * TILE);
}

fn leaveRow(place: Place, row: u32, column: u32, values: vec4f) {
  if (row < place.own.x) {
    sums[((row * place.own.y + place.own.z) * HEAD_DIM + column) / 4u] += values;
  }
}
