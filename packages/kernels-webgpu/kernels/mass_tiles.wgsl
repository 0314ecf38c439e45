// mass_tiles.wgsl: dense scores of listed query rows against all their keys, reduced to sums of exponentials over eight keys each (spec 9, 10).
//
// A workgroup makes 128 rows (query heads of one KV head) x 128 keys of one sequence; rows of other sequences in its tile are left to other workgroups. A
// thread owns eight neighbouring keys of a row, which lie in one block: their largest score and the sum of exponentials below it are all that is
// written. mass_blocks.wgsl does the rest. Bound: f32 multiply-adds, 2 n Hq L D.

@group(0) @binding(1) var<storage, read> q: array<Element4>;          // [Tq, Hq, D]
@group(0) @binding(2) var<storage, read> k: array<Element4>;          // [Tk, Hkv, D]
@group(0) @binding(3) var<storage, read> rows: array<i32>;            // [n], -1 for none
@group(0) @binding(4) var<storage, read_write> sums: array<LogSum>;  // [items, tileRows * GROUP, runs], written where a row sees a key

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) id: vec3u, @builtin(local_invocation_index) thread: u32) {
  let item = params.firstItem + id.y;
  let kvHead = item % params.rules.kvHeads;
  let firstListed = item / params.rules.kvHeads * params.tileRows;
  let firstKey = id.x * 128u;
  let most = mostSeen(firstListed, id.z, thread);
  if (firstKey >= most) {
    return;
  }
  // Rows of other sequences and keys past the last one stand in for something, and are not written.
  let run = loadedRun(thread) * 4u;
  let firstRow = keyRow(id.z, 0u);
  let lastKey = most - 1u;
  let loads = Loads(
    vec4u(headRow(firstListed, run, kvHead), headRow(firstListed, run + 1u, kvHead), headRow(firstListed, run + 2u, kvHead), headRow(firstListed, run + 3u, kvHead)),
    vec2u((firstRow + min(firstKey + run, lastKey)) * params.rules.kvHeads + kvHead),
    vec2u((firstRow + min(firstKey + run + 1u, lastKey)) * params.rules.kvHeads + kvHead),
    vec2u((firstRow + min(firstKey + run + 2u, lastKey)) * params.rules.kvHeads + kvHead),
    vec2u((firstRow + min(firstKey + run + 3u, lastKey)) * params.rules.kvHeads + kvHead),
  );
  // Even runs of keys in front of odd ones, so that a thread's two are neighbours.
  let keyPlace = loadedRun(thread) / 2u + loadedRun(thread) % 2u * 16u;
  let products = productTile(loads, select(keyPlace, loadedRun(thread), thread < 128u), thread);
  let own = ownRuns(thread);
  let row = own.row * 4u;
  let key = firstKey + own.column * 8u;
  store(id, firstListed, row, key, products.row0);
  store(id, firstListed, row + 1u, key, products.row1);
  store(id, firstListed, row + 2u, key, products.row2);
  store(id, firstListed, row + 3u, key, products.row3);
  store(id, firstListed, row + 64u, key, products.row64);
  store(id, firstListed, row + 65u, key, products.row65);
  store(id, firstListed, row + 66u, key, products.row66);
  store(id, firstListed, row + 67u, key, products.row67);
}

/** The most keys that a row of the tile sees in a sequence. Borrows workgroup memory of the product, which leaves none. Begins and ends with a barrier. */
fn mostSeen(firstListed: u32, sequence: u32, thread: u32) -> u32 {
  var seen = 0u;
  if (thread < params.tileRows) {
    seen = keysSeen(firstListed + thread, sequence);
  }
  putBorrowed(thread, f32(seen));
  for (var half = 128u; half > 0u; half /= 2u) {
    workgroupBarrier();
    if (thread < half) {
      putBorrowed(thread, max(borrowed(thread), borrowed(thread + half)));
    }
  }
  return u32(workgroupUniformLoad(&rowSlices[0][0][0]).x);
}

fn borrowed(thread: u32) -> f32 {
  return rowSlices[thread / 128u][thread / 32u % 4u][thread % 32u].x;
}

fn putBorrowed(thread: u32, value: f32) {
  rowSlices[thread / 128u][thread / 32u % 4u][thread % 32u] = vec4f(value);
}

/** Keys that a listed row sees in a sequence, 0 where it is not its own. */
fn keysSeen(listed: u32, sequence: u32) -> u32 {
  if (listed >= params.count || rows[listed] < 0) {
    return 0u;
  }
  let query = findQuery(u32(rows[listed]));
  return select(0u, query.position + 1u, query.sequence == sequence);
}

/** Row of q of a row of the tile. */
fn headRow(firstListed: u32, row: u32, kvHead: u32) -> u32 {
  let listed = min(firstListed + row / GROUP, params.count - 1u);
  return u32(max(rows[listed], 0)) * params.rules.heads + kvHead * GROUP + row % GROUP;
}

fn columnPart(keyRows: vec2u, part: u32) -> vec4f {
  return vec4f(k[keyRows.x * (HEAD_DIM / 4u) + part]);
}

fn store(id: vec3u, firstListed: u32, row: u32, key: u32, products: RowProducts) {
  if (row >= params.tileRows * GROUP) {
    return;
  }
  let seen = keysSeen(firstListed + row / GROUP, id.z);
  if (key >= seen) {
    return;
  }
  let lowKeys = vec4u(key, key + 1u, key + 2u, key + 3u);
  let low = select(vec4f(LEAST), products.left, lowKeys < vec4u(seen));
  let high = select(vec4f(LEAST), products.right, lowKeys + 4u < vec4u(seen));
  let factor = params.rules.scale * LOG2_E;
  sums[(id.y * params.tileRows * GROUP + row) * params.runs + key / 8u] = addScores(addScores(LogSum(LEAST, 0.0), low, factor), high, factor);
}
