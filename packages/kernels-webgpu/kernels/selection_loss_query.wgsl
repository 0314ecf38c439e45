// selection_loss_query.wgsl: adds the gradient of the distillation loss to that of the sampled queries (spec 10).
//
// A workgroup owns one sampled query of one KV head and works on four heads at once: first the total of each head's excesses over all candidates, a
// sub-block a thread; then 128 sub-blocks at a time, dScore of each and its product with the representative, where a thread owns four dimensions
// of some of them. Numerics: f32, sums in a fixed order. Bound: n x L / m scores, three times.

@group(0) @binding(1) var<storage, read> q: array<Element4>;                     // [Tq, Hq, D]
@group(0) @binding(2) var<storage, read> reps: array<vec4f>;                     // [Hkv, blocks * r, D]
@group(0) @binding(3) var<storage, read> rows: array<i32>;                       // [n], -1 for none
@group(0) @binding(4) var<storage, read> totals: array<f32>;                     // [1]: sum(T)
@group(0) @binding(5) var<storage, read> blockExcesses: array<BlockExcess>;      // [Hkv, n, maxBlocks]
@group(0) @binding(6) var<storage, read_write> sampleHeads: array<SampleHead>;  // [Hkv, n, G]
@group(0) @binding(7) var<storage, read_write> dq: array<Element4>;             // [Tq, Hq, D], added to

/** [THREADS]: of four heads. */
var<workgroup> dScores: array<vec4f, 128>;
/** [THREADS]: sums of one head. */
var<workgroup> products: array<vec4f, 128>;

fn rowPart(row: u32, part: u32) -> vec4f {
  return reps[row * (HEAD_DIM / 4u) + part];
}

@compute @workgroup_size(128)
fn main(@builtin(workgroup_id) id: vec3u, @builtin(num_workgroups) count: vec3u, @builtin(local_invocation_index) thread: u32) {
  let item = workgroupIndex(id, count);
  if (item >= params.count * params.rules.kvHeads) {
    return;
  }
  let kvHead = item / params.count;
  let row = rows[item % params.count];
  let sample = sampleAt(row);
  if (isEmpty(sample)) {
    return;
  }
  let representatives = params.rules.representatives;
  let firstRow = representativeRow(sample.sequence, kvHead, sample.candidates.x * representatives);
  let firstBlock = item * params.maxBlocks + sample.candidates.x;
  let subBlocks = (sample.candidates.y - sample.candidates.x) * representatives;
  let groupRow = u32(row) * params.rules.heads + kvHead * GROUP;
  let factor = gradientFactor(totals[0]);
  let parts = HEAD_DIM / 4u;
  let part = thread % parts;
  loadGroup(groupRow, thread);
  if (thread < GROUP) {
    headLogs[thread] = LogSum(sampleHeads[item * GROUP + thread].largest, sampleHeads[item * GROUP + thread].sum);
  } else if (thread < 16u) {
    headLogs[thread] = LogSum(0.0, 1.0);
  }
  workgroupBarrier();

  for (var firstHead = 0u; firstHead < GROUP; firstHead += 4u) {
    var excesses = vec4f();
    for (var own = thread; own < subBlocks; own += THREADS) {
      let shares = logShares(firstHead, groupScores(firstHead, firstRow + own));
      let excess = blockExcesses[firstBlock + own / representatives];
      excesses += excess.factor * exp(shares - excess.shift);
    }
    for (var head = 0u; head < min(4u, GROUP - firstHead); head++) {
      let sum = sumOfThreads(excesses[head], thread);
      excesses[head] = sum;
      if (thread == 0u) {
        sampleHeads[item * GROUP + firstHead + head].excesses = sum;
      }
    }

    var sums = mat4x4f();
    for (var first = 0u; first < subBlocks; first += THREADS) {
      if (first + thread < subBlocks) {
        let own = first + thread;
        let shares = logShares(firstHead, groupScores(firstHead, firstRow + own));
        let excess = blockExcesses[firstBlock + own / representatives];
        dScores[thread] = (exp(shares) * excesses - excess.factor * exp(shares - excess.shift)) * factor;
      }
      workgroupBarrier();
      for (var other = thread / parts; other < min(THREADS, subBlocks - first); other += THREADS / parts) {
        let representative = rowPart(firstRow + first + other, part);
        sums[0] = fma(vec4f(dScores[other].x), representative, sums[0]);
        sums[1] = fma(vec4f(dScores[other].y), representative, sums[1]);
        sums[2] = fma(vec4f(dScores[other].z), representative, sums[2]);
        sums[3] = fma(vec4f(dScores[other].w), representative, sums[3]);
      }
      workgroupBarrier();
    }
    for (var head = 0u; head < min(4u, GROUP - firstHead); head++) {
      products[thread] = sums[head];
      workgroupBarrier();
      if (thread < parts) {
        var sum = vec4f();
        for (var other = thread; other < THREADS; other += parts) {
          sum += products[other];
        }
        let at = (groupRow + firstHead + head) * parts + part;
        dq[at] = Element4(vec4f(dq[at]) + sum);
      }
      workgroupBarrier();
    }
  }
}
