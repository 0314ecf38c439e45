// selection_loss_reps.wgsl: gradient of the block distillation loss with respect to the representatives (spec 10). Deterministic.
//
// A workgroup owns eight consecutive sub-blocks of one KV head and walks all sampled query heads, 16 at a time in workgroup memory; a batch whose
// candidates none of them is among is passed over. A thread makes one dScore of the 16 x 8, then owns four dimensions of some of the sub-blocks.
// Numerics: f32. Bound: n G x L / m scores.

@group(0) @binding(1) var<storage, read> q: array<Element4>;                  // [Tq, Hq, D]
@group(0) @binding(2) var<storage, read> reps: array<vec4f>;                  // [Hkv, blocks * r, D]
@group(0) @binding(3) var<storage, read> rows: array<i32>;                    // [n], -1 for none
@group(0) @binding(4) var<storage, read> totals: array<f32>;                  // [1]: sum(T)
@group(0) @binding(5) var<storage, read> blockExcesses: array<BlockExcess>;   // [Hkv, n, maxBlocks]
@group(0) @binding(6) var<storage, read> sampleHeads: array<SampleHead>;      // [Hkv, n, G]
@group(0) @binding(7) var<storage, read_write> dReps: array<vec4f>;          // [Hkv, blocks * r, D], all of it written

const OWNED = 8u;
const BATCH = 16u;

override HEAD_DIM: u32;
override GROUP: u32;

var<workgroup> ownReps: array<vec4f, 256>;   // [OWNED, D / 4]
var<workgroup> queries: array<vec4f, 512>;   // [BATCH, D / 4]
var<workgroup> dScores: array<f32, 128>;     // [BATCH, OWNED]
/** Whether a query head of the batch has a candidate among the sub-blocks. */
var<workgroup> reaching: array<u32, 16>;
var<workgroup> anyReaching: u32;

@compute @workgroup_size(128)
fn main(@builtin(workgroup_id) id: vec3u, @builtin(num_workgroups) count: vec3u, @builtin(local_invocation_index) thread: u32) {
  let subBlocks = params.sequences.blocks * params.rules.representatives;
  let tiles = (subBlocks + OWNED - 1u) / OWNED;
  let index = workgroupIndex(id, count);
  if (index >= tiles * params.rules.kvHeads) {
    return;
  }
  let parts = HEAD_DIM / 4u;
  let kvHead = index / tiles;
  let firstSub = index % tiles * OWNED;
  let firstRow = kvHead * subBlocks + firstSub;
  let owned = min(OWNED, subBlocks - firstSub);
  let touched = vec2u(firstSub, firstSub + owned - 1u) / params.rules.representatives;
  for (var at = thread; at < owned * parts; at += 128u) {
    ownReps[at] = reps[firstRow * parts + at];
  }
  let factor = gradientFactor(totals[0]);
  let part = thread % parts;
  let firstOwned = thread / parts;
  let stride = 128u / parts;
  // With D 128 a thread has two sub-blocks, else one or none.
  var sums0 = vec4f();
  var sums1 = vec4f();

  let items = params.count * GROUP;
  for (var first = 0u; first < items; first += BATCH) {
    if (thread < BATCH) {
      var reaches = false;
      if (first + thread < items) {
        let candidates = layoutCandidates(rows[(first + thread) / GROUP]);
        reaches = candidates.x <= touched.y && touched.x < candidates.y;
      }
      reaching[thread] = select(0u, 1u, reaches);
    }
    workgroupBarrier();
    if (thread == 0u) {
      anyReaching = 0u;
      for (var other = 0u; other < BATCH; other++) {
        anyReaching |= reaching[other];
      }
    }
    if (workgroupUniformLoad(&anyReaching) == 0u) {
      continue;
    }
    for (var at = thread; at < BATCH * parts; at += 128u) {
      let other = at / parts;
      queries[at] = vec4f();
      if (reaching[other] == 1u) {
        let item = first + other;
        let head = u32(rows[item / GROUP]) * params.rules.heads + kvHead * GROUP + item % GROUP;
        queries[at] = vec4f(q[head * parts + at % parts]);
      }
    }
    workgroupBarrier();
    dScores[thread] = dScore(first + thread / OWNED, thread / OWNED, thread % OWNED, kvHead, firstSub, owned) * factor;
    workgroupBarrier();
    for (var other = 0u; other < BATCH; other++) {
      let query = queries[other * parts + part];
      sums0 = fma(vec4f(dScores[other * OWNED + firstOwned % OWNED]), query, sums0);
      sums1 = fma(vec4f(dScores[other * OWNED + (firstOwned + stride) % OWNED]), query, sums1);
    }
    workgroupBarrier();
  }
  if (firstOwned < owned) {
    dReps[(firstRow + firstOwned) * parts + part] = sums0;
  }
  if (firstOwned + stride < owned) {
    dReps[(firstRow + firstOwned + stride) * parts + part] = sums1;
  }
}

/** Candidates of a sampled row as blocks of the whole layout. */
fn layoutCandidates(row: i32) -> vec2u {
  let sample = sampleAt(row);
  if (isEmpty(sample)) {
    return vec2u();
  }
  return sample.candidates + u32(sequenceNumbers[params.sequences.blockStarts + sample.sequence]);
}

/** @param item sample and head @param other its place in the batch @param own sub-block of those of this workgroup */
fn dScore(item: u32, other: u32, own: u32, kvHead: u32, firstSub: u32, owned: u32) -> f32 {
  if (reaching[other] == 0u || own >= owned) {
    return 0.0;
  }
  let index = item / GROUP;
  let sample = sampleAt(rows[index]);
  let firstBlock = u32(sequenceNumbers[params.sequences.blockStarts + sample.sequence]);
  let block = (firstSub + own) / params.rules.representatives;
  if (block < firstBlock + sample.candidates.x || block >= firstBlock + sample.candidates.y) {
    return 0.0;
  }
  let parts = HEAD_DIM / 4u;
  var sums = vec4f();
  for (var part = 0u; part < parts; part++) {
    sums = fma(queries[other * parts + part], ownReps[own * parts + part], sums);
  }
  let sampleItem = kvHead * params.count + index;
  let head = sampleHeads[sampleItem * GROUP + item % GROUP];
  let share = ((sums.x + sums.y) + (sums.z + sums.w) - head.largest) * params.rules.scale - log(head.sum);
  return exp(share) * head.excesses - excessOf(blockExcesses[sampleItem * params.maxBlocks + block - firstBlock], share);
}
