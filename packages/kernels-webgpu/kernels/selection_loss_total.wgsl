// selection_loss_total.wgsl: the distillation loss over all samples and KV heads (spec 10), one workgroup. Numerics: f32, pairwise in a fixed order.

struct Params {
  items: u32,  // Hkv n
}

@group(0) @binding(0) var<storage, read> partial: array<f32>;       // [2, items]
@group(0) @binding(1) var<storage, read_write> loss: array<f32>;    // [1]
@group(0) @binding(2) var<storage, read_write> totals: array<f32>;  // [1]: sum(T)
@group(0) @binding(8) var<uniform> params: Params;

var<workgroup> sums: array<vec2f, 256>;

@compute @workgroup_size(256)
fn main(@builtin(local_invocation_index) thread: u32) {
  var sum = vec2f();
  for (var item = thread; item < params.items; item += 256u) {
    sum += vec2f(partial[item], partial[params.items + item]);
  }
  sums[thread] = sum;
  for (var half = 128u; half > 0u; half /= 2u) {
    workgroupBarrier();
    if (thread < half) {
      sums[thread] += sums[thread + half];
    }
  }
  if (thread == 0u) {
    totals[0] = sums[0].y;
    loss[0] = 0.0;
    if (sums[0].y > 0.0) {
      loss[0] = sums[0].x / sums[0].y;
    }
  }
}
