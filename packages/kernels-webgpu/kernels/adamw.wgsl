// adamw.wgsl: one step of AdamW over a parameter, or the window of it that is bound.
//
// A thread owns four elements, 256 apart. What changes from step to step is read on the device; a clip scale of 0 leaves all as it is. Bound: bytes, 16 (moments)
// + 8 (f32 value or master) + the gradient + 2 (f16 value) an element. Numerics: f32; an f16 value is its f32 master, rounded once.

struct Params {
  count: u32,
  beta1: f32,
  beta2: f32,
  meanShare: f32,      // 1 - beta1
  varianceShare: f32,  // 1 - beta2
  epsilon: f32,
  weightDecay: f32,
}

@group(0) @binding(0) var<storage, read> control: array<f32>;           // [3]: learning rate, 1 - beta1^t, 1 - beta2^t
@group(0) @binding(1) var<storage, read> norm: array<f32>;              // [2]: norm, clip scale
@group(0) @binding(2) var<storage, read> gradient: array<Gradient>;
@group(0) @binding(3) var<storage, read_write> mean: array<f32>;
@group(0) @binding(4) var<storage, read_write> variance: array<f32>;
@group(0) @binding(5) var<storage, read_write> value: array<Element>;
@group(0) @binding(8) var<uniform> params: Params;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) id: vec3u, @builtin(num_workgroups) count: vec3u, @builtin(local_invocation_index) thread: u32) {
  let scale = norm[1];
  if (scale == 0.0) {
    return;
  }
  let first = workgroupIndex(id, count) * 1024u + thread;
  for (var index = first; index < min(first + 1024u, params.count); index += 256u) {
    let clipped = f32(gradient[index]) * scale;
    let newMean = params.beta1 * mean[index] + params.meanShare * clipped;
    let newVariance = params.beta2 * variance[index] + params.varianceShare * clipped * clipped;
    let old = exactValue(index);
    let change = newMean / control[1] / (sqrt(newVariance / control[2]) + params.epsilon) + params.weightDecay * old;
    mean[index] = newMean;
    variance[index] = newVariance;
    storeValue(index, old - control[0] * change);
  }
}
