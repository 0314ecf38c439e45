// reduce_workgroup.wgsl: reduce_subgroups.wgsl for devices without subgroup operations, in two steps of 16.

const REDUCED_THREADS = 256u;
const REDUCED_GROUPS = 16u;

var<workgroup> reducedParts: array<vec2f, REDUCED_THREADS>;
var<workgroup> reducedGroups: array<vec2f, REDUCED_GROUPS>;

fn workgroupSum2(value: vec2f, thread: u32) -> vec2f {
  reducedParts[thread] = value;
  workgroupBarrier();
  if (thread < REDUCED_GROUPS) {
    var sum = vec2f();
    for (var part = thread; part < REDUCED_THREADS; part += REDUCED_GROUPS) {
      sum += reducedParts[part];
    }
    reducedGroups[thread] = sum;
  }
  workgroupBarrier();
  var sum = vec2f();
  for (var group = 0u; group < REDUCED_GROUPS; group++) {
    sum += reducedGroups[group];
  }
  return sum;
}

fn workgroupSum(value: f32, thread: u32) -> f32 {
  return workgroupSum2(vec2f(value, 0.0), thread).x;
}

/** Of numbers above -3.0e38. */
fn workgroupMax(value: f32, thread: u32) -> f32 {
  reducedParts[thread].x = value;
  workgroupBarrier();
  if (thread < REDUCED_GROUPS) {
    var largest = reducedParts[thread].x;
    for (var part = thread; part < REDUCED_THREADS; part += REDUCED_GROUPS) {
      largest = max(largest, reducedParts[part].x);
    }
    reducedGroups[thread].x = largest;
  }
  workgroupBarrier();
  var largest = reducedGroups[0].x;
  for (var group = 1u; group < REDUCED_GROUPS; group++) {
    largest = max(largest, reducedGroups[group].x);
  }
  return largest;
}
