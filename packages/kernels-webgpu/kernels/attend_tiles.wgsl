// attend_tiles.wgsl: attention over the first tokens and the local window, which for a dense spec or query are all earlier keys (spec 5).
//
// A workgroup owns 64 or 128 rows, neighbouring queries times the heads of one KV head, and walks their keys 32 at a time. A thread makes one or two
// runs of 4 rows by 4 of the scores, and the same rows by an eighth of the dimensions of out, all in registers. Operands go through workgroup memory:
// some or all dimensions of q and k, then the largest scores, then probabilities and the values of 16 keys. Runs of four numbers are moved by an
// exclusive or, so that no access meets a bank twice; arrays are nested so that only outer indices change in loops.
// Numerics: f32, online softmax in powers of two. Values of keys that no row of the tile sees are 0: they may be NaN.
// Bound: f32 multiply-adds, 2 D a row and key, half of them where keys are all earlier tokens; reads of workgroup memory take almost as long.

const THREADS = 128u;
const KEYS = 32u;
const VALUES = 16u;    // keys whose values are in memory at once
const SIDES = 8u;      // threads of a run of rows: each has every eighth key, then every eighth run of dimensions
const LOG2_E = 1.4426950408889634;

/** Heads of a KV head. */
override GROUP: u32;
/** Runs of four rows of a thread: 1 or 2. */
override HALVES: u32;
/** Runs of four dimensions of q and k in memory at once: 8, or all of them, and q stays there. */
override CHUNK: u32;
override ROWS: u32 = 64u * HALVES;
/** Where things lie in memory; q is at 0. */
override KEYS_AT: u32 = CHUNK * HALVES * 2u;
override VALUES_AT: u32 = select(0u, KEYS_AT, CHUNK * 4u == HEAD_DIM);
override PROBABILITIES_AT: u32 = VALUES_AT + VALUES;
override PLACES: u32 = max(KEYS_AT + CHUNK, PROBABILITIES_AT + HALVES * 16u);

/**
 * - q: [part, row / 32][row % 4][row / 4 % 8 ^ part % 8]
 * - k: [part][key / 8][key % 8 ^ part % 8]
 * - largest scores and totals: [run / 4][run % 4][side], a component a row
 * - values: [key][part / 8][part % 8]
 * - probabilities: [key % 8, run / 8][key / 8][run % 8 ^ key % 8], a component a row
 */
var<workgroup> memory: array<array<array<vec4f, 8>, 4>, PLACES>;

/** The rows of a workgroup and the keys that any of them sees, numbered from 0: up to initEnd, then from localStart on. */
struct Tile {
  sequence: u32,
  kvHead: u32,
  firstRow: u32,       // of q
  queries: u32,
  firstPosition: u32,
  lastPosition: u32,
  denseBelow: u32,
  keyStart: u32,       // row of the sequence's first key, packed
  initEnd: u32,
  localStart: u32,
  count: u32,
}

fn positionOf(tile: Tile, index: u32) -> u32 {
  return select(tile.localStart + index - tile.initEnd, index, index < tile.initEnd);
}

/** Whether all rows see all keys of a tile of keys. */
fn seesAll(tile: Tile, first: u32) -> bool {
  let begin = positionOf(tile, first);
  let end = begin + KEYS;
  if (first + KEYS > tile.count || end > tile.firstPosition + 1u) {
    return false;
  }
  let lastWindow = candidateBlocks(tile.lastPosition, tile.denseBelow).y * params.rules.blockSize;
  return begin >= lastWindow || end <= tile.initEnd;
}

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) id: vec3u, @builtin(num_workgroups) count: vec3u, @builtin(local_invocation_index) thread: u32) {
  let tileQueries = ROWS / GROUP;
  let tiles = params.sequences.queryTokens / tileQueries + params.sequences.count + 1u;
  let item = workgroupIndex(id, count);
  if (item >= tiles * params.rules.kvHeads) {
    return;
  }
  // The last tiles see the most keys: they begin first.
  let rows = queryTile(tiles - 1u - item % tiles, tileQueries);
  if (rows.first >= rows.end) {
    return;
  }
  let kvHead = item / tiles;
  if (rows.sequence == params.sequences.count) {
    writeNothing(rows, kvHead, thread);
    return;
  }
  let tile = tileOf(rows, kvHead);

  let run = thread / SIDES;
  let side = thread % SIDES;
  let isResident = CHUNK * 4u == HEAD_DIM;
  // Of a row: dimensions side, side + 8 and so on, in runs of four.
  var sums0 = mat4x4f(); var sums1 = mat4x4f(); var sums2 = mat4x4f(); var sums3 = mat4x4f();
  var sums4 = mat4x4f(); var sums5 = mat4x4f(); var sums6 = mat4x4f(); var sums7 = mat4x4f();
  // A component a row. Totals are over the thread's own keys.
  var largest = vec4f(LOWEST); var totals = vec4f();
  var largest2 = vec4f(LOWEST); var totals2 = vec4f();
  if (isResident) {
    loadQueries(tile, 0u, thread);
  }

  for (var firstKey = 0u; firstKey < tile.count; firstKey += KEYS) {
    // A column a key: side, side + 8, side + 16 and side + 24; a component a row.
    var scores = mat4x4f();
    var scores2 = mat4x4f();
    for (var chunk = 0u; chunk < HEAD_DIM / 4u; chunk += CHUNK) {
      workgroupBarrier();
      if (!isResident) {
        loadQueries(tile, chunk, thread);
      }
      loadKeys(tile, firstKey, chunk, thread);
      workgroupBarrier();
      for (var part = 0u; part < CHUNK; part++) {
        let keyLane = (side ^ part) % 8u;
        let keys = mat4x4f(
          memory[KEYS_AT + part][0][keyLane], memory[KEYS_AT + part][1][keyLane],
          memory[KEYS_AT + part][2][keyLane], memory[KEYS_AT + part][3][keyLane]);
        let place = part * HALVES * 2u + run / 8u;
        let rowLane = (run ^ part) % 8u;
        scores = addProducts(scores, keys, transpose(mat4x4f(
          memory[place][0][rowLane], memory[place][1][rowLane], memory[place][2][rowLane], memory[place][3][rowLane])));
        if (HALVES == 2u) {
          scores2 = addProducts(scores2, keys, transpose(mat4x4f(
            memory[place + 2u][0][rowLane], memory[place + 2u][1][rowLane], memory[place + 2u][2][rowLane], memory[place + 2u][3][rowLane])));
        }
      }
    }
    if (!seesAll(tile, firstKey)) {
      scores = masked(tile, run * 4u, firstKey + side, scores);
      if (HALVES == 2u) {
        scores2 = masked(tile, 64u + run * 4u, firstKey + side, scores2);
      }
    }

    workgroupBarrier();
    let runPlace = VALUES_AT + run / 4u;
    memory[runPlace][run % 4u][side] = max(max(scores[0], scores[1]), max(scores[2], scores[3]));
    if (HALVES == 2u) {
      memory[runPlace + 4u][run % 4u][side] = max(max(scores2[0], scores2[1]), max(scores2[2], scores2[3]));
    }
    workgroupBarrier();
    let both = max(largest, largestOf(runPlace, run % 4u));
    let keep = exp2(largest - both);
    largest = both;
    scores = mat4x4f(exp2(scores[0] - both), exp2(scores[1] - both), exp2(scores[2] - both), exp2(scores[3] - both));
    totals = fma(totals, keep, (scores[0] + scores[1]) + (scores[2] + scores[3]));
    let ownPlace = PROBABILITIES_AT + side * HALVES * 2u + run / 8u;
    let ownLane = (run ^ side) % 8u;
    memory[ownPlace][0][ownLane] = scores[0];
    memory[ownPlace][1][ownLane] = scores[1];
    memory[ownPlace][2][ownLane] = scores[2];
    memory[ownPlace][3][ownLane] = scores[3];
    sums0 *= keep.x;
    sums1 *= keep.y;
    sums2 *= keep.z;
    sums3 *= keep.w;
    if (HALVES == 2u) {
      let both2 = max(largest2, largestOf(runPlace + 4u, run % 4u));
      let keep2 = exp2(largest2 - both2);
      largest2 = both2;
      scores2 = mat4x4f(exp2(scores2[0] - both2), exp2(scores2[1] - both2), exp2(scores2[2] - both2), exp2(scores2[3] - both2));
      totals2 = fma(totals2, keep2, (scores2[0] + scores2[1]) + (scores2[2] + scores2[3]));
      memory[ownPlace + 2u][0][ownLane] = scores2[0];
      memory[ownPlace + 2u][1][ownLane] = scores2[1];
      memory[ownPlace + 2u][2][ownLane] = scores2[2];
      memory[ownPlace + 2u][3][ownLane] = scores2[3];
      sums4 *= keep2.x;
      sums5 *= keep2.y;
      sums6 *= keep2.z;
      sums7 *= keep2.w;
    }

    for (var half = 0u; half < KEYS / VALUES; half++) {
      workgroupBarrier();
      loadValues(tile, firstKey + half * VALUES, thread);
      workgroupBarrier();
      for (var key = 0u; key < VALUES; key++) {
        let values = mat4x4f(
          memory[VALUES_AT + key][0][side], memory[VALUES_AT + key][1][side], memory[VALUES_AT + key][2][side], memory[VALUES_AT + key][3][side]);
        let place = PROBABILITIES_AT + key % 8u * HALVES * 2u + run / 8u;
        let column = half * 2u + key / 8u;
        let lane = (run ^ key) % 8u;
        let p = memory[place][column][lane];
        sums0 = addValues(sums0, p.x, values);
        sums1 = addValues(sums1, p.y, values);
        sums2 = addValues(sums2, p.z, values);
        sums3 = addValues(sums3, p.w, values);
        if (HALVES == 2u) {
          let p2 = memory[place + 2u][column][lane];
          sums4 = addValues(sums4, p2.x, values);
          sums5 = addValues(sums5, p2.y, values);
          sums6 = addValues(sums6, p2.z, values);
          sums7 = addValues(sums7, p2.w, values);
        }
      }
    }
  }

  workgroupBarrier();
  let runPlace = VALUES_AT + run / 4u;
  memory[runPlace][run % 4u][side] = totals;
  if (HALVES == 2u) {
    memory[runPlace + 4u][run % 4u][side] = totals2;
  }
  workgroupBarrier();
  totals = sumOf(runPlace, run % 4u);
  writeRow(tile, run * 4u, side, largest.x, totals.x, sums0);
  writeRow(tile, run * 4u + 1u, side, largest.y, totals.y, sums1);
  writeRow(tile, run * 4u + 2u, side, largest.z, totals.z, sums2);
  writeRow(tile, run * 4u + 3u, side, largest.w, totals.w, sums3);
  if (HALVES == 2u) {
    totals2 = sumOf(runPlace + 4u, run % 4u);
    writeRow(tile, 64u + run * 4u, side, largest2.x, totals2.x, sums4);
    writeRow(tile, 64u + run * 4u + 1u, side, largest2.y, totals2.y, sums5);
    writeRow(tile, 64u + run * 4u + 2u, side, largest2.z, totals2.z, sums6);
    writeRow(tile, 64u + run * 4u + 3u, side, largest2.w, totals2.w, sums7);
  }
}

fn tileOf(rows: QueryTile, kvHead: u32) -> Tile {
  let first = queryOf(rows.sequence, rows.first);
  let queries = rows.end - rows.first;
  let last = first.position + queries - 1u;
  var keyStart = 0u;
  if (params.sequences.isPaged == 0u) {
    keyStart = keyRow(rows.sequence, 0u);
  }
  var initEnd = 0u;
  var localStart = 0u;
  if (first.position >= first.denseBelow) {
    localStart = candidateBlocks(first.position, first.denseBelow).y * params.rules.blockSize;
    initEnd = min(params.rules.initBlocks * params.rules.blockSize, min(localStart, last + 1u));
  }
  let keys = initEnd + max(last + 1u, localStart) - localStart;
  return Tile(rows.sequence, kvHead, rows.first, queries, first.position, last, first.denseBelow, keyStart, initEnd, localStart, keys);
}

/** Adds products of four dimensions of four rows, a column a dimension, and of four keys, a column a key. */
fn addProducts(sums: mat4x4f, keys: mat4x4f, rows: mat4x4f) -> mat4x4f {
  return mat4x4f(
    addProduct(sums[0], keys[0], rows), addProduct(sums[1], keys[1], rows), addProduct(sums[2], keys[2], rows), addProduct(sums[3], keys[3], rows));
}

fn addProduct(sums: vec4f, key: vec4f, rows: mat4x4f) -> vec4f {
  return fma(rows[3], vec4f(key.w), fma(rows[2], vec4f(key.z), fma(rows[1], vec4f(key.y), fma(rows[0], vec4f(key.x), sums))));
}

/** Adds a key's values, as many as the dimension has, times its probability. */
fn addValues(sums: mat4x4f, probability: f32, values: mat4x4f) -> mat4x4f {
  let p = vec4f(probability);
  if (HEAD_DIM == 32u) {
    return mat4x4f(fma(p, values[0], sums[0]), sums[1], sums[2], sums[3]);
  }
  if (HEAD_DIM == 64u) {
    return mat4x4f(fma(p, values[0], sums[0]), fma(p, values[1], sums[1]), sums[2], sums[3]);
  }
  return mat4x4f(fma(p, values[0], sums[0]), fma(p, values[1], sums[1]), fma(p, values[2], sums[2]), fma(p, values[3], sums[3]));
}

/** Scores of four rows and the visible keys `index`, 8, 16 and 24 after it, lowest for rows that do not see them. */
fn masked(tile: Tile, row: u32, index: u32, scores: mat4x4f) -> mat4x4f {
  return mat4x4f(
    maskedKey(tile, row, index, scores[0]), maskedKey(tile, row, index + 8u, scores[1]),
    maskedKey(tile, row, index + 16u, scores[2]), maskedKey(tile, row, index + 24u, scores[3]));
}

fn maskedKey(tile: Tile, row: u32, index: u32, scores: vec4f) -> vec4f {
  let key = positionOf(tile, index);
  var result = scores;
  for (var own = 0u; own < 4u; own++) {
    let position = tile.firstPosition + (row + own) / GROUP;
    let window = candidateBlocks(position, tile.denseBelow) * params.rules.blockSize;
    if (index >= tile.count || key > position || (key >= window.x && key < window.y)) {
      result[own] = LOWEST;
    }
  }
  return result;
}

fn largestOf(place: u32, run: u32) -> vec4f {
  return max(
    max(max(memory[place][run][0], memory[place][run][1]), max(memory[place][run][2], memory[place][run][3])),
    max(max(memory[place][run][4], memory[place][run][5]), max(memory[place][run][6], memory[place][run][7])));
}

fn sumOf(place: u32, run: u32) -> vec4f {
  return ((memory[place][run][0] + memory[place][run][1]) + (memory[place][run][2] + memory[place][run][3])) +
    ((memory[place][run][4] + memory[place][run][5]) + (memory[place][run][6] + memory[place][run][7]));
}

/** Begin of a row of the tile in q and out, in runs of four dimensions; rows past the last query may be anything. */
fn rowAt(tile: Tile, row: u32) -> u32 {
  return ((tile.firstRow + row / GROUP) * params.rules.heads + tile.kvHead * GROUP + row % GROUP) * (HEAD_DIM / 4u);
}

/** Begin of visible key `index` in k and v; of the last one past it. */
fn keyAt(tile: Tile, index: u32) -> u32 {
  let position = positionOf(tile, min(index, tile.count - 1u));
  var row = tile.keyStart + position;
  if (params.sequences.isPaged == 1u) {
    row = keyRow(tile.sequence, position);
  }
  return (row * params.rules.kvHeads + tile.kvHead) * (HEAD_DIM / 4u);
}

/** Puts some dimensions of q, scaled, into memory. */
fn loadQueries(tile: Tile, chunk: u32, thread: u32) {
  let scale = params.rules.scale * LOG2_E;
  for (var index = thread; index < ROWS * CHUNK; index += THREADS) {
    let row = index / CHUNK;
    let part = index % CHUNK;
    memory[part * HALVES * 2u + row / 32u][row % 4u][((row / 4u) ^ part) % 8u] = vec4f(q[rowAt(tile, row) + chunk + part]) * scale;
  }
}

/** Puts some dimensions of a tile of keys into memory. */
fn loadKeys(tile: Tile, firstKey: u32, chunk: u32, thread: u32) {
  for (var index = thread; index < KEYS * CHUNK; index += THREADS) {
    let key = index / CHUNK;
    let part = index % CHUNK;
    memory[KEYS_AT + part][key / 8u][(key ^ part) % 8u] = vec4f(k[keyAt(tile, firstKey + key) + chunk + part]);
  }
}

/** Puts values of neighbouring keys into memory, 0 past the last key. */
fn loadValues(tile: Tile, firstKey: u32, thread: u32) {
  let parts = HEAD_DIM / 4u;
  for (var index = thread; index < VALUES * parts; index += THREADS) {
    let key = index / parts;
    let part = index % parts;
    let value = vec4f(v[keyAt(tile, firstKey + key) + part]);
    memory[VALUES_AT + key][part / 8u][part % 8u] = select(vec4f(), value, firstKey + key < tile.count);
  }
}

/** A row's sums and totals as out and lse; nothing for rows past the last query. */
fn writeRow(tile: Tile, row: u32, side: u32, largest: f32, total: f32, sums: mat4x4f) {
  if (row / GROUP >= tile.queries) {
    return;
  }
  let at = rowAt(tile, row);
  let share = 1.0 / total;
  out[at + side] = Element4(sums[0] * share);
  if (HEAD_DIM > 32u) {
    out[at + side + 8u] = Element4(sums[1] * share);
  }
  if (HEAD_DIM > 64u) {
    out[at + side + 16u] = Element4(sums[2] * share);
    out[at + side + 24u] = Element4(sums[3] * share);
  }
  if (side == 0u) {
    lse[at / (HEAD_DIM / 4u)] = logSum(largest / LOG2_E, total);
  }
}

/** Rows that belong to no sequence. */
fn writeNothing(rows: QueryTile, kvHead: u32, thread: u32) {
  let parts = HEAD_DIM / 4u;
  let count = (rows.end - rows.first) * GROUP;
  for (var index = thread; index < count * parts; index += THREADS) {
    let row = (rows.first + index / parts / GROUP) * params.rules.heads + kvHead * GROUP + index / parts % GROUP;
    out[row * parts + index % parts] = Element4();
    lse[row] = logSum(0.0, 0.0);
  }
}
