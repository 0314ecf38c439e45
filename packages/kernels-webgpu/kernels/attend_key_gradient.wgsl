// attend_key_gradient.wgsl: gradients of k and v with the visible keys held fixed (spec 5), key-major and without atomics.
//
// A workgroup owns OWNED neighbouring keys of one KV head and walks the query heads that see them, WALKED at a time. Those that see a key as first
// token, in the window or densely are a range; those that selected its block are a list (fill_selected.wgsl), whose part is added to what is there. The
// first tokens are seen by all queries: their range is cut into pieces, whose sums sum_key_pieces.wgsl joins. The order is fixed, and so are the sums.
// Numerics: f32, p from the given lse. Bound: f32 multiply-adds; a block that very many selected is one long walk.

struct Params {
  sequences: Sequences,
  rules: Rules,
  ends: u32,        // in work: [Hkv, blocks, chunks] where the lists end
  lists: u32,       // in work: [Hkv, Tq * topK] query rows
  chunks: u32,
  tiles: u32,       // of keys, for each KV head; of the first keys of each sequence where there are PIECES
  firstKeys: u32,   // keys of each sequence that a ranged walk leaves to pieces
}

/** Query heads of a KV head. */
override GROUP: u32;
/** 1: the queries that selected the block, 0: the others that see it. */
override SELECTED: u32;
/** Pieces that the queries of the first keys are cut into; 1 for all other keys. */
override PIECES: u32;

@group(0) @binding(1) var<storage, read> q: array<Element4>;                // [Tq, Hq, D]
@group(0) @binding(2) var<storage, read> k: array<Element4>;                // [Tk, Hkv, D]
@group(0) @binding(3) var<storage, read> v: array<Element4>;
@group(0) @binding(4) var<storage, read> dOut: array<Element4>;             // [Tq, Hq, D]
@group(0) @binding(5) var<storage, read> work: array<u32>;                    // begins with [Tq, Hq] pairs of lse and delta
@group(0) @binding(8) var<uniform> params: Params;

var<workgroup> walkedPositions: array<u32, WALKED>;
var<workgroup> walkedStatistics: array<vec2f, WALKED>;  // lse, delta

fn loadOwned(second: bool, row: u32, part: u32) -> vec4f {
  if (second) {
    return vec4f(v[row * PARTS + part]);
  }
  return vec4f(k[row * PARTS + part]);
}

fn loadWalked(second: bool, row: u32, part: u32) -> vec4f {
  if (second) {
    return vec4f(dOut[row * PARTS + part]);
  }
  return vec4f(q[row * PARTS + part]);
}

/** The keys of a workgroup and the queries that it walks: rows of q from `firstRow` on, or of a list. */
struct Walk {
  sequence: u32,
  firstKey: u32,
  keys: u32,
  firstRow: u32,
  rows: u32,
}

/** The queries from the first key on, as far as first tokens, window and denseBelow let one of the keys be seen. */
fn rangedWalk(sequence: u32, firstKey: u32) -> Walk {
  let length = keyCount(sequence);
  let keys = min(OWNED, length - min(length, firstKey));
  let start = queryStart(sequence);
  let firstPosition = length - (queryStart(sequence + 1u) - start);
  let first = max(firstPosition, firstKey);
  var end = length;
  if (firstKey / params.rules.blockSize >= params.rules.initBlocks && keys > 0u) {
    end = min(length, forcedEnd(firstKey + keys - 1u));
  }
  return Walk(sequence, firstKey, keys, start + first - firstPosition, end - min(end, first));
}

/** Piece `index` of a walk. */
fn pieceOf(walk: Walk, index: u32) -> Walk {
  let share = (walk.rows + PIECES - 1u) / PIECES;
  let first = min(walk.rows, index * share);
  return Walk(walk.sequence, walk.firstKey, walk.keys, walk.firstRow + first, min(share, walk.rows - first));
}

/** The list of the block that the keys are a part of. */
fn listedWalk(index: u32, kvHead: u32) -> Walk {
  let tiles = params.rules.blockSize / OWNED;
  let block = index / tiles;
  let sequence = sequenceAt(params.sequences.blockStarts, block);
  if (sequence == params.sequences.count) {
    return Walk(sequence, 0u, 0u, 0u, 0u);
  }
  let first = (block - u32(sequenceNumbers[params.sequences.blockStarts + sequence])) * params.rules.blockSize + index % tiles * OWNED;
  let length = keyCount(sequence);
  let ends = params.ends + (kvHead * params.sequences.blocks + block) * params.chunks;
  var start = 0u;
  if (block > 0u) {
    start = work[ends - 1u];
  }
  let list = params.lists + kvHead * params.sequences.queryTokens * params.rules.topK + start;
  return Walk(sequence, first, min(OWNED, length - min(length, first)), list, work[ends + params.chunks - 1u] - start);
}

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) id: vec3u, @builtin(num_workgroups) count: vec3u, @builtin(local_invocation_index) thread: u32) {
  let index = workgroupIndex(id, count);
  // Gathered rows of one KV head find each other in the cache; of all KV heads the first keys, which most queries see, begin first.
  var kvHead = index / params.tiles;
  var walk: Walk;
  if (SELECTED == 1u) {
    if (kvHead >= params.rules.kvHeads) {
      return;
    }
    walk = listedWalk(index % params.tiles, kvHead);
  } else if (PIECES > 1u) {
    kvHead = index / PIECES % params.rules.kvHeads;
    let tile = index / PIECES / params.rules.kvHeads;
    if (tile >= params.tiles * params.sequences.count) {
      return;
    }
    walk = pieceOf(rangedWalk(tile / params.tiles, tile % params.tiles * OWNED), index % PIECES);
  } else {
    kvHead = index % params.rules.kvHeads;
    let tile = rowTile(params.sequences.keyStarts, OWNED, index / params.rules.kvHeads);
    if (tile.count == 0u || tile.first < params.firstKeys) {
      return;
    }
    walk = rangedWalk(tile.sequence, tile.first);
  }
  if (walk.keys == 0u || (walk.rows == 0u && PIECES == 1u)) {
    return;
  }
  let firstKeyRow = keyRow(walk.sequence, walk.firstKey);
  for (var row = thread; row < OWNED; row += THREADS) {
    tileRows[row] = select(NO_ROW, (firstKeyRow + row) * params.rules.kvHeads + kvHead, row < walk.keys);
  }
  let start = queryStart(walk.sequence);
  let firstPosition = keyCount(walk.sequence) - (queryStart(walk.sequence + 1u) - start);
  let keys = vec4u(walk.firstKey + thread / LANES * 4u) + vec4u(0u, 1u, 2u, 3u);
  var ends = vec4u();
  for (var i = 0u; i < 4u; i++) {
    if (keys[i] < walk.firstKey + walk.keys) {
      ends[i] = select(forcedEnd(keys[i]), NO_END, SELECTED == 1u);
    }
  }

  var keySums = array<vec4f, 8>();
  var valueSums = array<vec4f, 8>();
  let items = walk.rows * GROUP;
  for (var first = 0u; first < items; first += WALKED) {
    workgroupBarrier();
    for (var index = thread; index < WALKED; index += THREADS) {
      let item = first + index;
      tileRows[OWNED + index] = NO_ROW;
      walkedPositions[index] = NO_ROW;
      walkedStatistics[index] = vec2f();
      if (item < items) {
        var row = walk.firstRow + item / GROUP;
        if (SELECTED == 1u) {
          row = work[row];
        }
        let head = row * params.rules.heads + kvHead * GROUP + item % GROUP;
        tileRows[OWNED + index] = head;
        walkedPositions[index] = firstPosition + row - start;
        walkedStatistics[index] = bitcast<vec2f>(vec2u(work[2u * head], work[2u * head + 1u]));
      }
    }
    workgroupBarrier();
    var weights = array<vec4f, 4>();
    var dScores = array<vec4f, 4>();
    scoreTile(false, thread, &weights);
    scoreTile(true, thread, &dScores);
    for (var j = 0u; j < 4u; j++) {
      let walked = thread % LANES + j * LANES;
      let position = vec4u(walkedPositions[walked]);
      let statistics = walkedStatistics[walked];
      let visible = (keys <= position) & (position < ends);
      // Not a factor of 0: keys that no query sees may be NaN.
      weights[j] = select(vec4f(), exp(fma(weights[j], vec4f(params.rules.scale), vec4f(-statistics.x))), visible);
      dScores[j] = select(vec4f(), weights[j] * (dScores[j] - vec4f(statistics.y)) * params.rules.scale, visible);
    }
    storeWeights(thread, &weights);
    addTile(true, thread, &valueSums);
    storeWeights(thread, &dScores);
    addTile(false, thread, &keySums);
  }

  for (var r = 0u; r < ROWS; r++) {
    let owned = thread / PARTS * ROWS + r;
    if (tileRows[owned] != NO_ROW) {
      leaveSums(index, owned, tileRows[owned], thread % PARTS, keySums[r], valueSums[r]);
    }
  }
}
