// reduce_subgroups.wgsl: sums and maxima over a workgroup of 256 threads, by subgroups of any size and any arrangement.
//
// A subgroup leaves its own result in the slot of its lowest thread, and then each goes through all slots together. The order of a sum depends on the
// device alone. To be called by all threads of a workgroup; the result is the same in each.

const REDUCED_THREADS = 256u;

var<workgroup> reducedParts: array<vec2f, REDUCED_THREADS>;

fn leavePart(part: vec2f, nothing: vec2f, thread: u32) {
  let isLowest = subgroupMin(thread) == thread;
  // Readers of the reduction before may still be there.
  workgroupBarrier();
  reducedParts[thread] = select(nothing, part, isLowest);
  workgroupBarrier();
}

fn workgroupSum2(value: vec2f, thread: u32) -> vec2f {
  leavePart(subgroupAdd(value), vec2f(), thread);
  let lanes = subgroupAdd(1u);
  var sum = vec2f();
  for (var slot = subgroupExclusiveAdd(1u); slot < REDUCED_THREADS; slot += lanes) {
    sum += reducedParts[slot];
  }
  return subgroupAdd(sum);
}

fn workgroupSum(value: f32, thread: u32) -> f32 {
  return workgroupSum2(vec2f(value, 0.0), thread).x;
}

/** Of numbers above -3.0e38. */
fn workgroupMax(value: f32, thread: u32) -> f32 {
  const lowest = -3.0e38;
  leavePart(vec2f(subgroupMax(value)), vec2f(lowest), thread);
  let lanes = subgroupAdd(1u);
  var largest = lowest;
  for (var slot = subgroupExclusiveAdd(1u); slot < REDUCED_THREADS; slot += lanes) {
    largest = max(largest, reducedParts[slot].x);
  }
  return subgroupMax(largest);
}
