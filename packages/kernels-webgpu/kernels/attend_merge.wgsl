// attend_merge.wgsl: joins what workgroups of attend_few.wgsl found for their shares of the keys, in the order of the shares.
//
// A thread owns four dimensions of one query head. Bound: latency.

struct Params {
  rows: u32,  // Tq * Hq
}

override HEAD_DIM: u32;
override SPLITS: u32;
const THREADS = 128u;
/** Largest score of a share without keys. */
const LOWEST = -3.0e38;

@group(0) @binding(0) var<storage, read> partials: array<vec4f>;       // [Tq, Hq, SPLITS, D / 4 + 1]
@group(0) @binding(1) var<storage, read_write> out: array<Element4>;   // [Tq, Hq, D]
@group(0) @binding(2) var<storage, read_write> lse: array<f32>;        // [Tq, Hq]
@group(0) @binding(8) var<uniform> params: Params;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) id: vec3u, @builtin(num_workgroups) count: vec3u, @builtin(local_invocation_index) thread: u32) {
  let parts = HEAD_DIM / 4u;
  let row = workgroupIndex(id, count) * (THREADS / parts) + thread / parts;
  let part = thread % parts;
  if (row >= params.rows) {
    return;
  }
  let first = row * SPLITS * (parts + 1u);
  var largest = LOWEST;
  for (var split = 0u; split < SPLITS; split++) {
    largest = max(largest, partials[first + split * (parts + 1u) + parts].x);
  }
  var sum = vec4f();
  var total = 0.0;
  for (var split = 0u; split < SPLITS; split++) {
    let at = first + split * (parts + 1u);
    let own = partials[at + parts];
    if (own.y > 0.0) {
      let keep = exp(own.x - largest);
      sum = fma(vec4f(keep), partials[at + part], sum);
      total = fma(keep, own.y, total);
    }
  }
  var share = 0.0;
  // A row without keys: -Infinity, which no constant may be.
  var minusInfinity = 0xff800000u;
  var logSum = bitcast<f32>(minusInfinity);
  if (total > 0.0) {
    share = 1.0 / total;
    logSum = largest + log(total);
  }
  out[row * parts + part] = Element4(sum * share);
  if (part == 0u) {
    lse[row] = logSum;
  }
}
