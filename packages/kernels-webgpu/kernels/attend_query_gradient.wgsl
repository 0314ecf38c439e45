// attend_query_gradient.wgsl: the part of the gradient of q that first tokens, window and dense queries give (spec 5).
//
// A workgroup owns the heads of one KV head of neighbouring queries, OWNED rows, and walks the keys that one of them sees without having chosen
// them, WALKED at a time; what a query does not see of them is masked. Numerics: f32, p from the given lse. Bound: f32 multiply-adds.

struct Params {
  sequences: Sequences,
  rules: Rules,
  tiles: u32,       // tiles of queries, for each KV head
}

/** Query heads of a KV head. */
override GROUP: u32;

@group(0) @binding(1) var<storage, read> q: array<Element4>;                // [Tq, Hq, D]
@group(0) @binding(2) var<storage, read> k: array<Element4>;                // [Tk, Hkv, D]
@group(0) @binding(3) var<storage, read> v: array<Element4>;
@group(0) @binding(4) var<storage, read> dOut: array<Element4>;             // [Tq, Hq, D]
@group(0) @binding(5) var<storage, read> work: array<u32>;                    // begins with [Tq, Hq] pairs of lse and delta
@group(0) @binding(6) var<storage, read_write> dq: array<Element4>;         // [Tq, Hq, D]
@group(0) @binding(8) var<uniform> params: Params;

/** Queries of a workgroup. */
override QUERIES = OWNED / GROUP;

var<workgroup> walkedPositions: array<u32, WALKED>;
var<workgroup> walkedEnds: array<u32, WALKED>;

fn loadOwned(second: bool, row: u32, part: u32) -> vec4f {
  if (second) {
    return vec4f(dOut[row * PARTS + part]);
  }
  return vec4f(q[row * PARTS + part]);
}

fn loadWalked(second: bool, row: u32, part: u32) -> vec4f {
  if (second) {
    return vec4f(v[row * PARTS + part]);
  }
  return vec4f(k[row * PARTS + part]);
}

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) id: vec3u, @builtin(num_workgroups) count: vec3u, @builtin(local_invocation_index) thread: u32) {
  let index = workgroupIndex(id, count);
  if (index >= params.tiles * params.rules.kvHeads) {
    return;
  }
  let kvHead = index % params.rules.kvHeads;
  // The last queries see most keys: they begin first.
  let tile = rowTile(params.sequences.queryStarts, QUERIES, params.tiles - 1u - index / params.rules.kvHeads);
  if (tile.count == 0u) {
    return;
  }
  let start = queryStart(tile.sequence);
  let firstQuery = queryOf(tile.sequence, start + tile.first);
  for (var row = thread; row < OWNED; row += THREADS) {
    let head = (start + tile.first + row / GROUP) * params.rules.heads + kvHead * GROUP + row % GROUP;
    tileRows[row] = select(NO_ROW, head, row < tile.count * GROUP);
  }
  workgroupBarrier();
  var positions = vec4u(NO_ROW);
  var lse = vec4f();
  var delta = vec4f();
  for (var i = 0u; i < 4u; i++) {
    let row = thread / LANES * 4u + i;
    if (tileRows[row] != NO_ROW) {
      positions[i] = firstQuery.position + row / GROUP;
      lse[i] = bitcast<f32>(work[2u * tileRows[row]]);
      delta[i] = bitcast<f32>(work[2u * tileRows[row] + 1u]);
    }
  }

  // Each of these keys is seen by one of the queries at least.
  let end = firstQuery.position + tile.count;
  let initEnd = min(params.rules.initBlocks * params.rules.blockSize, end);
  let localStart = max(initEnd, visibleKeys(firstQuery, 0u).localStart);
  let skipped = localStart - initEnd;
  let items = initEnd + end - min(end, localStart);
  let firstKeyRow = keyRow(tile.sequence, 0u);

  var sums = array<vec4f, 8>();
  for (var first = 0u; first < items; first += WALKED) {
    workgroupBarrier();
    for (var index = thread; index < WALKED; index += THREADS) {
      let item = first + index;
      let position = item + select(skipped, 0u, item < initEnd);
      tileRows[OWNED + index] = select(NO_ROW, (firstKeyRow + position) * params.rules.kvHeads + kvHead, item < items);
      walkedPositions[index] = position;
      walkedEnds[index] = select(0u, forcedEnd(position), item < items);
    }
    workgroupBarrier();
    var weights = array<vec4f, 4>();
    var dScores = array<vec4f, 4>();
    scoreTile(false, thread, &weights);
    scoreTile(true, thread, &dScores);
    for (var j = 0u; j < 4u; j++) {
      let walked = thread % LANES + j * LANES;
      let seen = (vec4u(walkedPositions[walked]) <= positions) & (positions < vec4u(walkedEnds[walked]));
      let probability = exp(fma(weights[j], vec4f(params.rules.scale), -lse));
      dScores[j] = select(vec4f(), probability * (dScores[j] - delta) * params.rules.scale, seen);
    }
    storeWeights(thread, &dScores);
    addTile(false, thread, &sums);
  }
  for (var r = 0u; r < ROWS; r++) {
    let row = tileRows[thread / PARTS * ROWS + r];
    if (row != NO_ROW) {
      dq[row * PARTS + thread % PARTS] = Element4(sums[r]);
    }
  }
}
