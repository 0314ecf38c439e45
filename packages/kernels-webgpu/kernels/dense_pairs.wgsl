// dense_pairs.wgsl: the products of queries with keys, or of gradients with values, that dense_gradient.wgsl needs for each pair: along D.

@group(0) @binding(1) var<storage, read> left: array<Element4>;             // q or dOut, [Tq, Hq, D]
@group(0) @binding(2) var<storage, read> right: array<Element4>;            // k or v, [Tk, Hkv, D]
@group(0) @binding(3) var<storage, read> statistics: array<vec2f>;          // begins with [Tq, Hq] of lse and delta

fn leftFour(first: u32) -> Element4 {
  return left[first / 4u];
}

fn rightFour(first: u32) -> Element4 {
  return right[first / 4u];
}

/** Pairs of tiles of a head; rows and columns are those of the chunk. Own: head, row of its first query in the statistics, its position, that of the first key. */
fn placeOf(index: u32) -> Place {
  let pairs = params.queryTiles * params.keyTiles;
  let head = index / pairs;
  if (head >= params.rules.heads) {
    return Place();
  }
  let row = index % pairs % params.queryTiles;
  let column = index % pairs / params.queryTiles;
  let queries = rowTile(params.sequences.queryStarts, TILE, params.firstQueryTile + row);
  let keys = rowTile(params.sequences.keyStarts, TILE, params.firstKeyTile + column);
  if (queries.count == 0u || keys.count == 0u || queries.sequence != keys.sequence) {
    return Place();
  }
  let position = firstPosition(queries.sequence) + queries.first;
  if (position + queries.count <= keys.first) {
    return Place();
  }
  let queryHead = (queryStart(queries.sequence) + queries.first) * params.rules.heads + head;
  let keyHead = keyRow(keys.sequence, keys.first) * params.rules.kvHeads + head / GROUP;
  return Place(
    true, row * TILE, column * TILE, HEAD_DIM, queryHead * HEAD_DIM, params.rules.heads * HEAD_DIM, keyHead * HEAD_DIM, params.rules.kvHeads * HEAD_DIM,
    vec4u(head, queryHead, position, keys.first));
}

/** Where four columns of a row lie in the chunk, in vectors. */
fn pairsAt(place: Place, row: u32, column: u32) -> u32 {
  return ((place.own.x * params.queryTiles * TILE + row) * params.keyTiles * TILE + column) / 4u;
}

/** lse and delta of a row. */
fn statisticsOf(place: Place, row: u32) -> vec2f {
  return statistics[place.own.y + (row - place.firstRow) * params.rules.heads];
}
