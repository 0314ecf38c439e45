// sample_bins.wgsl: counts a part of a row's logits in bins. A workgroup owns a part; counts are integers, so that it does not matter who adds first.
// Bound: bytes of the logits, and atomic operations, two a logit in workgroup memory.

@group(0) @binding(3) var<storage, read_write> bins: array<atomic<u32>>;  // [S, ROW_WORDS]

var<workgroup> partBins: array<atomic<u32>, 2u * BINS>;

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
  let start = group.z * params.partVectors;
  let end = min(start + params.partVectors, params.vectors);
  for (var index = start + thread; index < end; index += THREADS) {
    let values = Vector(logits[row * params.vectors + index]);
    for (var component = 0u; component < VECTOR; component++) {
      let distance = distanceOf(draw, logitOf(componentOf(values, component)));
      if (distance < RANGE) {
        let bin = binOf(distance);
        atomicAdd(&partBins[bin], 1u);
        atomicAdd(&partBins[BINS + bin], excessOf(distance, bin));
      }
    }
  }
  workgroupBarrier();
  for (var bin = thread; bin < BINS; bin += THREADS) {
    let count = atomicLoad(&partBins[bin]);
    if (count > 0u) {
      atomicAdd(&bins[row * ROW_WORDS + bin], count);
      atomicAdd(&bins[row * ROW_WORDS + BINS + bin], atomicLoad(&partBins[BINS + bin]));
    }
  }
}
