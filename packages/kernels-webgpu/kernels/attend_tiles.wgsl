// attend_tiles.wgsl: attention over the first tokens and the local window, which for a dense spec or query are all earlier keys (spec 5).
//
// A workgroup owns 64 rows, neighbouring queries times the heads of one KV head, and walks their keys 32 at a time. A thread makes 4 rows by 4 of the
// scores, and the same rows by an eighth of the dimensions of out, all in registers. Workgroup memory, 16 KiB, holds 32 dimensions of q and k, then
// probabilities and as many values as fit, in runs of four numbers that are moved by an exclusive or, so that no access meets a bank twice. What a
// thread brings is all on its way before any of it is waited for, and loops take two steps at once: compilers do neither by themselves.
// Numerics: f32, online softmax in powers of two. Values of keys that no row of the tile sees are 0: they may be NaN.
// Bound: f32 multiply-adds, 2 D a row and key, half of them where keys are all earlier tokens; reads of workgroup memory take longer.

const THREADS = 128u;
const ROWS = 64u;
const ROW_RUNS = 16u;     // runs of four rows, one a thread
const SIDES = 8u;         // threads of a run of rows: each has every eighth key, then every eighth run of dimensions
const CHUNK = 8u;         // runs of four dimensions of q and k in memory at once
const KEYS = 32u;         // of a tile
const LOG2_E = 1.4426950408889634;

/** Heads of a KV head. */
override GROUP: u32;
/** Where k lies behind q; where probabilities lie behind values. */
override KEYS_AT: u32 = ROWS * CHUNK;
override PROBABILITIES_AT: u32 = KEYS * ROW_RUNS;
/** Keys whose values are in memory at once. */
override VALUES: u32 = min(KEYS, KEYS * ROW_RUNS * 4u / HEAD_DIM);

var<workgroup> memory: array<vec4f, KEYS * ROW_RUNS * 2u>;

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
  let parts = HEAD_DIM / 4u;
  var sums00 = vec4f(); var sums01 = vec4f(); var sums02 = vec4f(); var sums03 = vec4f();
  var sums10 = vec4f(); var sums11 = vec4f(); var sums12 = vec4f(); var sums13 = vec4f();
  var sums20 = vec4f(); var sums21 = vec4f(); var sums22 = vec4f(); var sums23 = vec4f();
  var sums30 = vec4f(); var sums31 = vec4f(); var sums32 = vec4f(); var sums33 = vec4f();
  var largest = vec4f(LOWEST);
  var totals = vec4f();  // over the thread's own keys

  for (var firstKey = 0u; firstKey < tile.count; firstKey += KEYS) {
    // A component a row, a variable a key: side, side + 8 and so on.
    var s0 = vec4f(); var s1 = vec4f(); var s2 = vec4f(); var s3 = vec4f();
    for (var chunk = 0u; chunk < parts; chunk += CHUNK) {
      let operands = fetchOperands(tile, firstKey, chunk, thread);
      workgroupBarrier();
      keepOperands(operands, thread);
      workgroupBarrier();
      for (var part = 0u; part < CHUNK; part += 2u) {
        let dimensions = dimensionsOf(run, part);
        let keyPart = KEYS_AT + side * CHUNK + (part ^ side);
        s0 = addProducts(s0, dimensions, memory[keyPart]);
        s1 = addProducts(s1, dimensions, memory[keyPart + 8u * CHUNK]);
        s2 = addProducts(s2, dimensions, memory[keyPart + 16u * CHUNK]);
        s3 = addProducts(s3, dimensions, memory[keyPart + 24u * CHUNK]);
        let nextDimensions = dimensionsOf(run, part + 1u);
        let nextPart = keyPart ^ 1u;
        s0 = addProducts(s0, nextDimensions, memory[nextPart]);
        s1 = addProducts(s1, nextDimensions, memory[nextPart + 8u * CHUNK]);
        s2 = addProducts(s2, nextDimensions, memory[nextPart + 16u * CHUNK]);
        s3 = addProducts(s3, nextDimensions, memory[nextPart + 24u * CHUNK]);
      }
    }
    if (!seesAll(tile, firstKey)) {
      let own = firstKey + side;
      s0 = masked(tile, run, own, s0);
      s1 = masked(tile, run, own + 8u, s1);
      s2 = masked(tile, run, own + 16u, s2);
      s3 = masked(tile, run, own + 24u, s3);
    }

    var both = max(max(s0, s1), max(s2, s3));
    workgroupBarrier();
    memory[side * ROW_RUNS + run] = both;
    workgroupBarrier();
    both = largest;
    for (var other = 0u; other < SIDES; other++) {
      both = max(both, memory[other * ROW_RUNS + run]);
    }
    let keep = exp2(largest - both);
    largest = both;
    let ownAt = PROBABILITIES_AT + side * ROW_RUNS + (run ^ side);
    s0 = exp2(s0 - both);
    s1 = exp2(s1 - both);
    s2 = exp2(s2 - both);
    s3 = exp2(s3 - both);
    memory[ownAt] = s0;
    memory[ownAt + 8u * ROW_RUNS] = s1;
    memory[ownAt + 16u * ROW_RUNS] = s2;
    memory[ownAt + 24u * ROW_RUNS] = s3;
    totals = fma(totals, keep, (s0 + s1) + (s2 + s3));

    sums00 *= keep.x; sums01 *= keep.x; sums02 *= keep.x; sums03 *= keep.x;
    sums10 *= keep.y; sums11 *= keep.y; sums12 *= keep.y; sums13 *= keep.y;
    sums20 *= keep.z; sums21 *= keep.z; sums22 *= keep.z; sums23 *= keep.z;
    sums30 *= keep.w; sums31 *= keep.w; sums32 *= keep.w; sums33 *= keep.w;
    for (var firstValue = 0u; firstValue < KEYS; firstValue += VALUES) {
      let values = fetchValues(tile, firstKey + firstValue, thread);
      workgroupBarrier();
      keepValues(values, thread);
      workgroupBarrier();
      for (var key = 0u; key < VALUES; key += 2u) {
        let probabilityAt = PROBABILITIES_AT + (firstValue + key) * ROW_RUNS;
        let p = memory[probabilityAt + (run ^ (key % 8u))];
        let next = memory[probabilityAt + ROW_RUNS + (run ^ (key % 8u + 1u))];
        let valueAt = key * parts + side;
        let nextAt = valueAt + parts;
        let value0 = memory[valueAt];
        let next0 = memory[nextAt];
        sums00 = addValues(sums00, p.x, value0, next.x, next0);
        sums10 = addValues(sums10, p.y, value0, next.y, next0);
        sums20 = addValues(sums20, p.z, value0, next.z, next0);
        sums30 = addValues(sums30, p.w, value0, next.w, next0);
        if (HEAD_DIM > 32u) {
          let value1 = memory[valueAt + 8u];
          let next1 = memory[nextAt + 8u];
          sums01 = addValues(sums01, p.x, value1, next.x, next1);
          sums11 = addValues(sums11, p.y, value1, next.y, next1);
          sums21 = addValues(sums21, p.z, value1, next.z, next1);
          sums31 = addValues(sums31, p.w, value1, next.w, next1);
        }
        if (HEAD_DIM > 64u) {
          let value2 = memory[valueAt + 16u];
          let next2 = memory[nextAt + 16u];
          sums02 = addValues(sums02, p.x, value2, next.x, next2);
          sums12 = addValues(sums12, p.y, value2, next.y, next2);
          sums22 = addValues(sums22, p.z, value2, next.z, next2);
          sums32 = addValues(sums32, p.w, value2, next.w, next2);
          let value3 = memory[valueAt + 24u];
          let next3 = memory[nextAt + 24u];
          sums03 = addValues(sums03, p.x, value3, next.x, next3);
          sums13 = addValues(sums13, p.y, value3, next.y, next3);
          sums23 = addValues(sums23, p.z, value3, next.z, next3);
          sums33 = addValues(sums33, p.w, value3, next.w, next3);
        }
      }
    }
  }

  workgroupBarrier();
  memory[side * ROW_RUNS + run] = totals;
  workgroupBarrier();
  totals = vec4f();
  for (var other = 0u; other < SIDES; other++) {
    totals += memory[other * ROW_RUNS + run];
  }
  writeRow(tile, run * 4u, side, largest.x, totals.x, sums00, sums01, sums02, sums03);
  writeRow(tile, run * 4u + 1u, side, largest.y, totals.y, sums10, sums11, sums12, sums13);
  writeRow(tile, run * 4u + 2u, side, largest.z, totals.z, sums20, sums21, sums22, sums23);
  writeRow(tile, run * 4u + 3u, side, largest.w, totals.w, sums30, sums31, sums32, sums33);
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

/** Four dimensions of a run of rows; a column is one dimension. */
fn dimensionsOf(run: u32, part: u32) -> mat4x4f {
  let at = run * 4u * CHUNK + (part ^ (run % 8u));
  return transpose(mat4x4f(memory[at], memory[at + CHUNK], memory[at + 2u * CHUNK], memory[at + 3u * CHUNK]));
}

/** Adds products of four dimensions of four rows and of a key: a column of `dimensions` is one dimension of the rows. */
fn addProducts(sums: vec4f, dimensions: mat4x4f, key: vec4f) -> vec4f {
  return fma(dimensions[3], vec4f(key.w), fma(dimensions[2], vec4f(key.z), fma(dimensions[1], vec4f(key.y), fma(dimensions[0], vec4f(key.x), sums))));
}

/** Adds the values of a key and of the next one times their probabilities. */
fn addValues(sums: vec4f, probability: f32, value: vec4f, nextProbability: f32, next: vec4f) -> vec4f {
  return fma(vec4f(nextProbability), next, fma(vec4f(probability), value, sums));
}

/** Scores of a run of rows and visible key `index`, lowest for rows that do not see it. */
fn masked(tile: Tile, run: u32, index: u32, scores: vec4f) -> vec4f {
  let key = positionOf(tile, index);
  var visible: vec4<bool>;
  for (var row = 0u; row < 4u; row++) {
    let position = tile.firstPosition + (run * 4u + row) / GROUP;
    let window = candidateBlocks(position, tile.denseBelow);
    visible[row] = index < tile.count && key <= position && (key < window.x * params.rules.blockSize || key >= window.y * params.rules.blockSize);
  }
  return select(vec4f(LOWEST), scores, visible);
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

/** What a thread brings of some dimensions of q and of a tile of keys: rows thread / 8 and every 16th after it. */
struct Operands {
  q0: Element4,
  q1: Element4,
  q2: Element4,
  q3: Element4,
  k0: Element4,
  k1: Element4,
}

fn fetchOperands(tile: Tile, firstKey: u32, chunk: u32, thread: u32) -> Operands {
  let row = thread / CHUNK;
  let part = chunk + thread % CHUNK;
  return Operands(
    q[rowAt(tile, row) + part], q[rowAt(tile, row + 16u) + part], q[rowAt(tile, row + 32u) + part], q[rowAt(tile, row + 48u) + part],
    k[keyAt(tile, firstKey + row) + part], k[keyAt(tile, firstKey + row + 16u) + part]);
}

fn keepOperands(operands: Operands, thread: u32) {
  let scale = params.rules.scale * LOG2_E;
  let row = thread / CHUNK;
  let part = thread % CHUNK;
  let queryPlace = row * CHUNK + (part ^ (row / 4u));
  memory[queryPlace] = vec4f(operands.q0) * scale;
  memory[(queryPlace ^ 4u) + 16u * CHUNK] = vec4f(operands.q1) * scale;
  memory[queryPlace + 32u * CHUNK] = vec4f(operands.q2) * scale;
  memory[(queryPlace ^ 4u) + 48u * CHUNK] = vec4f(operands.q3) * scale;
  let keyPlace = KEYS_AT + row * CHUNK + (part ^ (row % 8u));
  memory[keyPlace] = vec4f(operands.k0);
  memory[keyPlace + 16u * CHUNK] = vec4f(operands.k1);
}

/** What a thread brings of the values of neighbouring keys, 0 past the last key. */
struct Values {
  v0: Element4,
  v1: Element4,
  v2: Element4,
  v3: Element4,
}

fn fetchValues(tile: Tile, firstKey: u32, thread: u32) -> Values {
  let step = THREADS / (HEAD_DIM / 4u);
  let key = firstKey + thread / (HEAD_DIM / 4u);
  return Values(
    fetchValue(tile, key, thread), fetchValue(tile, key + step, thread),
    fetchValue(tile, key + 2u * step, thread), fetchValue(tile, key + 3u * step, thread));
}

fn fetchValue(tile: Tile, key: u32, thread: u32) -> Element4 {
  return select(Element4(), v[keyAt(tile, key) + thread % (HEAD_DIM / 4u)], key < tile.count);
}

fn keepValues(values: Values, thread: u32) {
  memory[thread] = vec4f(values.v0);
  memory[thread + THREADS] = vec4f(values.v1);
  if (HEAD_DIM > 32u) {
    memory[thread + 2u * THREADS] = vec4f(values.v2);
    memory[thread + 3u * THREADS] = vec4f(values.v3);
  }
}

fn writeRow(tile: Tile, row: u32, side: u32, largest: f32, total: f32, sums0: vec4f, sums1: vec4f, sums2: vec4f, sums3: vec4f) {
  if (row / GROUP >= tile.queries) {
    return;
  }
  let at = rowAt(tile, row);
  let share = 1.0 / total;
  out[at + side] = Element4(sums0 * share);
  if (HEAD_DIM > 32u) {
    out[at + side + 8u] = Element4(sums1 * share);
  }
  if (HEAD_DIM > 64u) {
    out[at + side + 16u] = Element4(sums2 * share);
    out[at + side + 24u] = Element4(sums3 * share);
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
