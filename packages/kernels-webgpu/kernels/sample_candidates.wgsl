// sample_candidates.wgsl: which ids of a row the draw may come to, in any order: those of all bins up to the one where the first cut lies, or, without cuts, the drawn
// token. Mostly they are few. A workgroup owns a part of the row, and finds that bin for itself. Bound: bytes of the logits, read twice, the second time from the cache.

@group(0) @binding(3) var<storage, read_write> bins: array<atomic<u32>>;      // [S, ROW_WORDS]
@group(0) @binding(4) var<storage, read_write> candidates: array<u32>;        // [S, V]

var<workgroup> partCount: atomic<u32>;
var<workgroup> firstSlot: u32;

fn firstGoal(draw: Draw) -> Goal {
  if (draw.topK > 0.0) {
    return Goal(COUNTED, draw.topK, 0.0);
  }
  if (draw.topP < 1.0) {
    return Goal(REACHED, 0.0, draw.topP);
  }
  return Goal(EXCEEDED, 0.0, draw.uniformNumber);
}

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) thread: u32) {
  let row = workgroupIndex(group, groups);
  if (row >= params.rows) {
    return;
  }
  let draw = rowDraw(row);
  if (!draw.hasShares) {
    return;
  }
  let words = row * ROW_WORDS;
  var items: array<vec2f, ITEMS>;
  for (var item = 0u; item < ITEMS; item++) {
    let bin = thread * ITEMS + item;
    items[item] = totalsOf(atomicLoad(&bins[words + bin]), atomicLoad(&bins[words + BINS + bin]), bin);
  }
  resetCrossing(thread);
  let found = findCrossing(firstGoal(draw), vec2f(), items, thread);
  // Without cuts all mass within minP is drawn from.
  let isUncut = !(draw.topK > 0.0) && !(draw.topP < 1.0);
  let lastBin = max(found.index, select(0u, min(binOf(draw.limit), BINS - 1u), isUncut && draw.limit < RANGE));
  let end = f32(lastBin + 1u) * BIN_WIDTH;

  let first = group.z * params.partVectors;
  let last = min(first + params.partVectors, params.vectors);
  var count = 0u;
  for (var index = first + thread; index < last; index += THREADS) {
    let values = Vector(logits[row * params.vectors + index]);
    for (var component = 0u; component < VECTOR; component++) {
      count += select(0u, 1u, distanceOf(draw, logitOf(componentOf(values, component))) < end);
    }
  }
  var slot = atomicAdd(&partCount, count);
  workgroupBarrier();
  if (thread == 0u) {
    firstSlot = atomicAdd(&bins[words + CANDIDATES], atomicLoad(&partCount));
    if (group.z == 0u) {
      atomicStore(&bins[words + LAST_BIN], lastBin);
      atomicStore(&bins[words + BINNED_COUNT], u32(found.all.x));
      atomicStore(&bins[words + BINNED_MASS], bitcast<u32>(found.all.y));
    }
  }
  slot += row * params.vectors * VECTOR + workgroupUniformLoad(&firstSlot);
  if (count == 0u) {
    return;
  }
  for (var index = first + thread; index < last; index += THREADS) {
    let values = Vector(logits[row * params.vectors + index]);
    for (var component = 0u; component < VECTOR; component++) {
      if (distanceOf(draw, logitOf(componentOf(values, component))) < end) {
        candidates[slot] = index * VECTOR + component;
        slot++;
      }
    }
  }
}
