// scan_counts.wgsl: exclusive sums of a KV head's counts, in place (selected_lists.wgsl). One workgroup a KV head; bound by latency.

struct Params {
  count: u32,  // of each KV head
}

const THREADS = 256u;
/** Counts a thread adds up by itself. */
const OWN = 8u;

@group(0) @binding(0) var<storage, read_write> counts: array<u32>;  // [Hkv, count]
@group(0) @binding(8) var<uniform> params: Params;

var<workgroup> sums: array<u32, THREADS>;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) id: vec3u, @builtin(local_invocation_index) thread: u32) {
  let base = id.x * params.count;
  var before = 0u;
  for (var first = 0u; first < params.count; first += THREADS * OWN) {
    var own = array<u32, OWN>();
    var total = 0u;
    for (var i = 0u; i < OWN; i++) {
      let index = first + thread * OWN + i;
      if (index < params.count) {
        own[i] = counts[base + index];
      }
      total += own[i];
    }
    workgroupBarrier();
    sums[thread] = total;
    for (var distance = 1u; distance < THREADS; distance *= 2u) {
      workgroupBarrier();
      var other = 0u;
      if (thread >= distance) {
        other = sums[thread - distance];
      }
      workgroupBarrier();
      sums[thread] += other;
    }
    workgroupBarrier();
    var start = before + sums[thread] - total;
    for (var i = 0u; i < OWN; i++) {
      let index = first + thread * OWN + i;
      if (index < params.count) {
        counts[base + index] = start;
      }
      start += own[i];
    }
    before += sums[THREADS - 1u];
  }
}
