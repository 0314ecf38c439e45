// pool_blocks.wgsl: block representatives as weighted sums of keys (spec 3).
//
// A thread owns four dimensions of one sub-block of one KV head and adds its keys in token order; neighbouring threads read neighbouring dimensions.
// Bound: bytes of k. Numerics: f32 sums.

struct Params {
  sequences: Sequences,
  rules: Rules,
  hasBranches: u32,  // 1: weights of the global branch, then punctuation and lambda
}

override HEAD_DIM: u32;

@group(0) @binding(1) var<storage, read> k: array<Element4>;            // [Tk, Hkv, D]
@group(0) @binding(2) var<storage, read> weights: array<f32>;           // [Tk]
@group(0) @binding(3) var<storage, read> punctuation: array<f32>;       // [Tk], or anything
@group(0) @binding(4) var<storage, read> lambda: array<f32>;            // [Hkv], or anything
@group(0) @binding(5) var<storage, read_write> reps: array<vec4f>;      // [Hkv, blocks * r, D]
@group(0) @binding(8) var<uniform> params: Params;

fn tokenWeight(token: u32, kvHead: u32) -> f32 {
  if (params.hasBranches == 0u) {
    return weights[token];
  }
  return lambda[kvHead] * weights[token] + (1.0 - lambda[kvHead]) * punctuation[token];
}

@compute @workgroup_size(128)
fn main(@builtin(workgroup_id) id: vec3u, @builtin(num_workgroups) count: vec3u, @builtin(local_invocation_index) thread: u32) {
  const threads = 128u;
  let parts = HEAD_DIM / 4u;
  let subBlocks = params.sequences.blocks * params.rules.representatives;
  let item = workgroupIndex(id, count) * (threads / parts) + thread / parts;
  if (item >= subBlocks * params.rules.kvHeads) {
    return;
  }
  let part = thread % parts;
  let kvHead = item / subBlocks;
  let subBlock = item % subBlocks;
  let sequence = sequenceAt(params.sequences.blockStarts, subBlock / params.rules.representatives);
  var sums = vec4f();
  if (sequence < params.sequences.count) {
    let size = params.rules.blockSize / params.rules.representatives;
    let own = subBlock - u32(sequenceNumbers[params.sequences.blockStarts + sequence]) * params.rules.representatives;
    let end = min((own + 1u) * size, keyCount(sequence));
    for (var position = own * size; position < end; position++) {
      let token = keyRow(sequence, position);
      sums = fma(vec4f(tokenWeight(token, kvHead)), vec4f(k[(token * params.rules.kvHeads + kvHead) * parts + part]), sums);
    }
  }
  reps[item * parts + part] = sums;
}
