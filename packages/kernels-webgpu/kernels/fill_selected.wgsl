// fill_selected.wgsl: the lists of queries by block (selected_lists.wgsl), from the counters' starts, which become their ends.
//
// One workgroup a chunk of rows and KV head takes its rows in turn, BATCH entries at a time: an entry's place is its counter plus the entries of the
// batch before it with the same one. Bound: comparisons of a batch.

const THREADS = 256u;
const BATCH = 1024u;

@group(0) @binding(3) var<storage, read_write> lists: array<u32>;  // [Hkv, Tq * topK]

var<workgroup> batch: array<u32, BATCH>;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) id: vec3u, @builtin(local_invocation_index) thread: u32) {
  let topK = params.rules.topK;
  let chunk = id.x;
  let kvHead = id.y;
  let first = chunk * params.chunkRows;
  let rows = min(params.chunkRows, params.sequences.queryTokens - min(params.sequences.queryTokens, first));
  for (var start = 0u; start < rows * topK; start += BATCH) {
    storageBarrier();
    workgroupBarrier();
    for (var index = thread; index < BATCH; index += THREADS) {
      let entry = start + index;
      batch[index] = NO_COUNTER;
      if (entry < rows * topK) {
        batch[index] = counterOf(kvHead, chunk, first + entry / topK, entry % topK);
      }
    }
    workgroupBarrier();
    var places = array<u32, BATCH / THREADS>();
    for (var i = 0u; i < BATCH / THREADS; i++) {
      let index = thread + i * THREADS;
      let counter = batch[index];
      if (counter == NO_COUNTER) {
        continue;
      }
      var before = atomicLoad(&counters[counter]);
      for (var other = 0u; other < index; other++) {
        before += select(0u, 1u, batch[other] == counter);
      }
      places[i] = before;
      lists[kvHead * params.sequences.queryTokens * topK + before] = first + (start + index) / topK;
    }
    storageBarrier();
    workgroupBarrier();
    for (var i = 0u; i < BATCH / THREADS; i++) {
      let counter = batch[thread + i * THREADS];
      if (counter != NO_COUNTER) {
        atomicMax(&counters[counter], places[i] + 1u);
      }
    }
  }
}
