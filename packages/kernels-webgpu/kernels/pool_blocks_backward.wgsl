// pool_blocks_backward.wgsl: adds the gradient of block representatives to that of the keys (spec 3).
//
// A thread owns four dimensions of one token of one KV head; neighbouring threads lie side by side. Bound: bytes of dk, read and written. Numerics: f32.

struct Params {
  sequences: Sequences,
  rules: Rules,
  hasBranches: u32,  // 1: weights of the global branch, then punctuation and lambda
}

override HEAD_DIM: u32;

@group(0) @binding(1) var<storage, read> weights: array<f32>;           // [Tk]
@group(0) @binding(2) var<storage, read> punctuation: array<f32>;       // [Tk], or anything
@group(0) @binding(3) var<storage, read> lambda: array<f32>;            // [Hkv], or anything
@group(0) @binding(4) var<storage, read> dReps: array<vec4f>;           // [Hkv, blocks * r, D]
@group(0) @binding(5) var<storage, read_write> dk: array<Element4>;     // [Tk, Hkv, D]
@group(0) @binding(8) var<uniform> params: Params;

@compute @workgroup_size(128)
fn main(@builtin(workgroup_id) id: vec3u, @builtin(num_workgroups) count: vec3u, @builtin(local_invocation_index) thread: u32) {
  let parts = HEAD_DIM / 4u;
  let at = workgroupIndex(id, count) * 128u + thread;
  let item = at / parts;
  if (item >= params.sequences.keyTokens * params.rules.kvHeads) {
    return;
  }
  let kvHead = item % params.rules.kvHeads;
  let token = item / params.rules.kvHeads;
  let sequence = sequenceAt(params.sequences.keyStarts, token);
  if (sequence == params.sequences.count) {
    return;
  }
  var weight = weights[token];
  if (params.hasBranches == 1u) {
    weight = lambda[kvHead] * weight + (1.0 - lambda[kvHead]) * punctuation[token];
  }
  let subBlock = (token - keyRow(sequence, 0u)) / (params.rules.blockSize / params.rules.representatives);
  let gradient = dReps[representativeRow(sequence, kvHead, subBlock) * parts + at % parts];
  dk[at] = Element4(fma(vec4f(weight), gradient, vec4f(dk[at])));
}
