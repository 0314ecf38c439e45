// pool_lambda_gradient.wgsl: adds the gradient of the lambdas of a branch pair (spec 3): dM / dlambda = Mo - Mp.
//
// A workgroup sums a run of tokens of one KV head, its threads four dimensions of a token each; add_row_sums.wgsl adds up
// the runs. Numerics: f32, every sum in a fixed order. Bound: bytes of k.

struct Params {
  sequences: Sequences,
  rules: Rules,
  runTokens: u32,
  runs: u32,  // of a KV head
}

override HEAD_DIM: u32;

@group(0) @binding(1) var<storage, read> k: array<Element4>;             // [Tk, Hkv, D]
@group(0) @binding(2) var<storage, read> weights: array<f32>;            // [Tk], of the global branch
@group(0) @binding(3) var<storage, read> punctuation: array<f32>;        // [Tk]
@group(0) @binding(4) var<storage, read> dReps: array<vec4f>;            // [Hkv, blocks * r, D]
@group(0) @binding(5) var<storage, read_write> partial: array<f32>;     // [Hkv, runs]
@group(0) @binding(8) var<uniform> params: Params;

var<workgroup> sums: array<f32, 256>;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) id: vec3u, @builtin(num_workgroups) count: vec3u, @builtin(local_invocation_index) thread: u32) {
  let index = workgroupIndex(id, count);
  if (index >= params.runs * params.rules.kvHeads) {
    return;
  }
  let parts = HEAD_DIM / 4u;
  let kvHead = index / params.runs;
  let first = index % params.runs * params.runTokens;
  let end = min(first + params.runTokens, params.sequences.keyTokens);
  var sum = 0.0;
  for (var token = first + thread / parts; token < end; token += 256u / parts) {
    let difference = weights[token] - punctuation[token];
    let sequence = sequenceAt(params.sequences.keyStarts, token);
    if (sequence < params.sequences.count) {
      let subBlock = (token - keyRow(sequence, 0u)) / (params.rules.blockSize / params.rules.representatives);
      let gradient = dReps[representativeRow(sequence, kvHead, subBlock) * parts + thread % parts];
      sum += difference * dot(vec4f(k[(token * params.rules.kvHeads + kvHead) * parts + thread % parts]), gradient);
    }
  }
  sums[thread] = sum;
  for (var half = 128u; half > 0u; half /= 2u) {
    workgroupBarrier();
    if (thread < half) {
      sums[thread] += sums[thread + half];
    }
  }
  if (thread == 0u) {
    partial[index] = sums[0];
  }
}
