// mass_blocks.wgsl: block masses of listed rows from the sums that mass_tiles.wgsl leaves (spec 9, 10): a workgroup owns one row of one KV head. First each head's
// log-sum-exp over all keys, then the share of each block, a block a thread. Numerics: f32, sums in a fixed order. Bound: bytes of the sums.

@group(0) @binding(1) var<storage, read> sums: array<LogSum>;      // [items, tileRows * GROUP, runs]
@group(0) @binding(2) var<storage, read> rows: array<i32>;         // [n], -1 for none
@group(0) @binding(3) var<storage, read_write> mass: array<f32>;  // [Hkv, n, maxBlocks], all of it written

@compute @workgroup_size(128)
fn main(@builtin(workgroup_id) id: vec3u, @builtin(num_workgroups) count: vec3u, @builtin(local_invocation_index) thread: u32) {
  let index = workgroupIndex(id, count);
  let item = params.firstItem + index / params.tileRows;
  let listed = item / params.rules.kvHeads * params.tileRows + index % params.tileRows;
  if (index >= params.items * params.tileRows || listed >= params.count) {
    return;
  }
  let first = (item % params.rules.kvHeads * params.count + listed) * params.maxBlocks;
  let row = rows[listed];
  var query = Query(params.sequences.count, 0u, 0u, 0u);
  if (row >= 0) {
    query = findQuery(u32(row));
  }
  if (query.sequence == params.sequences.count) {
    for (var block = thread; block < params.maxBlocks; block += THREADS) {
      mass[first + block] = 0.0;
    }
    return;
  }
  let ownSums = index * GROUP * params.runs;
  let runs = query.position / 8u + 1u;
  let factor = params.rules.scale * LOG2_E;
  for (var firstHead = 0u; firstHead < GROUP; firstHead += 4u) {
    for (var head = 0u; head < min(4u, GROUP - firstHead); head++) {
      var total = LogSum(LEAST, 0.0);
      for (var run = thread; run < runs; run += THREADS) {
        total = merge(total, sums[ownSums + (firstHead + head) * params.runs + run], factor);
      }
      logSums[head * THREADS + thread] = total;
    }
    mergeThreads(firstHead, factor, thread);
  }
  let blockRuns = params.rules.blockSize / 8u;
  for (var block = thread; block < params.maxBlocks; block += THREADS) {
    var blockMass = 0.0;
    for (var head = 0u; head < GROUP; head++) {
      var share = 0.0;
      for (var run = block * blockRuns; run < min((block + 1u) * blockRuns, runs); run++) {
        let own = sums[ownSums + head * params.runs + run];
        share += own.sum * exp2((own.largest - headLogs[head].largest) * factor);
      }
      blockMass += share / headLogs[head].sum;
    }
    mass[first + block] = blockMass;
  }
}
