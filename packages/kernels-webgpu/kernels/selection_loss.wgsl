// selection_loss.wgsl: the block distillation loss of each sampled query (spec 10), and what its gradients need.
//
// A workgroup owns one sampled query of one KV head. Each head's log-sum-exp over all candidates, then log P of each block, a block a thread, kept in
// logarithms so that no P is rounded to 0. Both are left for the gradients, P in the form of BlockExcess.
// Numerics: f32, sums in a fixed order. Bound: n x L / m scores, twice.

@group(0) @binding(1) var<storage, read> q: array<Element4>;                       // [Tq, Hq, D]
@group(0) @binding(2) var<storage, read> reps: array<vec4f>;                       // [Hkv, blocks * r, D]
@group(0) @binding(3) var<storage, read> mass: array<f32>;                         // [Hkv, n, maxBlocks]
@group(0) @binding(4) var<storage, read> rows: array<i32>;                         // [n], -1 for none
@group(0) @binding(5) var<storage, read_write> sampleHeads: array<SampleHead>;    // [Hkv, n, G]
@group(0) @binding(6) var<storage, read_write> blockExcesses: array<BlockExcess>;  // [Hkv, n, maxBlocks]: candidates only
@group(0) @binding(7) var<storage, read_write> partial: array<f32>;                // [2, Hkv, n]: - sum(T log P), then sum(T)

fn rowPart(row: u32, part: u32) -> vec4f {
  return reps[row * (HEAD_DIM / 4u) + part];
}

@compute @workgroup_size(128)
fn main(@builtin(workgroup_id) id: vec3u, @builtin(num_workgroups) count: vec3u, @builtin(local_invocation_index) thread: u32) {
  let item = workgroupIndex(id, count);
  let items = params.count * params.rules.kvHeads;
  if (item >= items) {
    return;
  }
  let kvHead = item / params.count;
  let row = rows[item % params.count];
  let sample = sampleAt(row);
  if (isEmpty(sample)) {
    if (thread == 0u) {
      partial[item] = 0.0;
      partial[items + item] = 0.0;
    }
    return;
  }
  let representatives = params.rules.representatives;
  let firstRow = representativeRow(sample.sequence, kvHead, sample.candidates.x * representatives);
  let blocks = sample.candidates.y - sample.candidates.x;
  loadGroup(u32(row) * params.rules.heads + kvHead * GROUP, thread);
  sumGroup(firstRow, 1u, blocks * representatives, thread);
  if (thread < GROUP) {
    sampleHeads[item * GROUP + thread] = SampleHead(headLogs[thread].largest, headLogs[thread].sum, 0.0);
  }

  let firstBlock = item * params.maxBlocks + sample.candidates.x;
  // First of all: each block's excess is measured against it.
  var total = 0.0;
  for (var block = thread; block < blocks; block += THREADS) {
    total += mass[firstBlock + block];
  }
  total = sumOfThreads(total, thread);

  var loss = 0.0;
  for (var block = thread; block < blocks; block += THREADS) {
    var shares = LogSum(LEAST, 0.0);
    for (var own = block * representatives; own < (block + 1u) * representatives; own++) {
      for (var firstHead = 0u; firstHead < GROUP; firstHead += 4u) {
        let logs = logShares(firstHead, groupScores(firstHead, firstRow + own));
        for (var head = 0u; head < min(4u, GROUP - firstHead); head++) {
          shares = addScore(shares, logs[head], LOG2_E);
        }
      }
    }
    let teacher = mass[firstBlock + block];
    blockExcesses[firstBlock + block] = blockExcess(teacher, shares.largest, shares.sum, total / f32(GROUP));
    if (teacher > 0.0) {
      loss -= teacher * (shares.largest + log(shares.sum / f32(GROUP)));
    }
  }
  loss = sumOfThreads(loss, thread);
  if (thread == 0u) {
    partial[item] = loss;
    partial[items + item] = total;
  }
}
