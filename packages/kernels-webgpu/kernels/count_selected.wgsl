// count_selected.wgsl: how many queries of each chunk selected each block (selected_lists.wgsl). One thread an entry of `selected`.

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) id: vec3u, @builtin(num_workgroups) count: vec3u, @builtin(local_invocation_index) thread: u32) {
  let index = workgroupIndex(id, count) * 256u + thread;
  let row = index / params.rules.topK;
  if (row >= params.sequences.queryTokens) {
    return;
  }
  let counter = counterOf(id.z, row / params.chunkRows, row, index % params.rules.topK);
  if (counter != NO_COUNTER) {
    atomicAdd(&counters[counter], 1u);
  }
}
