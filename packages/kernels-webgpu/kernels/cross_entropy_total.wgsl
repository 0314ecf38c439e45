// cross_entropy_total.wgsl: the weighted sum of token losses by one workgroup, in an order that depends on their number alone.
// Bound: latency.

struct Params {
  tokens: u32,
}

@group(0) @binding(0) var<storage, read> tokenLosses: array<f32>;       // [tokens]
@group(0) @binding(1) var<storage, read> weights: array<f32>;           // [tokens]
@group(0) @binding(2) var<storage, read_write> loss: array<f32>;        // [1]
@group(0) @binding(8) var<uniform> params: Params;

const THREADS = 256u;

var<workgroup> sums: array<f32, THREADS>;

@compute @workgroup_size(THREADS)
fn main(@builtin(local_invocation_index) thread: u32) {
  var sum = 0.0;
  for (var token = thread; token < params.tokens; token += THREADS) {
    // A token that is left out has loss 0.
    sum = fma(weights[token], tokenLosses[token], sum);
  }
  sums[thread] = sum;
  for (var half = THREADS / 2u; half > 0u; half /= 2u) {
    workgroupBarrier();
    if (thread < half) {
      sums[thread] += sums[thread + half];
    }
  }
  if (thread == 0u) {
    loss[0] = sums[0];
  }
}
