// attend_delta.wgsl: for each query head lse and delta, the sum over D of out * dOut, side by side for the gradients.
//
// Eight threads a query head, each with every eighth vector; one adds up. Bound: bytes of out and dOut.

struct Params {
  rows: u32,        // Tq * Hq
}

override HEAD_DIM: u32;
const THREADS = 256u;
const LANES = 8u;

@group(0) @binding(0) var<storage, read> out: array<Element4>;         // [Tq, Hq, D]
@group(0) @binding(1) var<storage, read> dOut: array<Element4>;        // [Tq, Hq, D]
@group(0) @binding(2) var<storage, read> lse: array<f32>;              // [Tq, Hq]
@group(0) @binding(3) var<storage, read_write> work: array<u32>;         // [Tq, Hq] pairs of lse and delta
@group(0) @binding(8) var<uniform> params: Params;

var<workgroup> partial: array<f32, THREADS>;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) id: vec3u, @builtin(num_workgroups) count: vec3u, @builtin(local_invocation_index) thread: u32) {
  let parts = HEAD_DIM / 4u;
  let row = workgroupIndex(id, count) * (THREADS / LANES) + thread / LANES;
  var sum = 0.0;
  if (row < params.rows) {
    for (var part = thread % LANES; part < parts; part += LANES) {
      sum += dot(vec4f(out[row * parts + part]), vec4f(dOut[row * parts + part]));
    }
  }
  partial[thread] = sum;
  workgroupBarrier();
  if (thread % LANES != 0u || row >= params.rows) {
    return;
  }
  var delta = 0.0;
  for (var lane = 0u; lane < LANES; lane++) {
    delta += partial[thread + lane];
  }
  work[2u * row] = bitcast<u32>(lse[row]);
  work[2u * row + 1u] = bitcast<u32>(delta);
}
