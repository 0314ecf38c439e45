// embedding_short_runs.wgsl: the runs of embedding_runs.wgsl that one thread a column adds up. Bound: bytes, floor T E elements read and the touched rows read
// and written.

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) id: vec3u, @builtin(num_workgroups) count: vec3u, @builtin(local_invocation_index) thread: u32) {
  let index = workgroupIndex(id, count) * 256u + thread;
  let place = index / params.vectors;
  if (place >= params.places) {
    return;
  }
  let run = runs[place];
  if (run.y == 0u || run.y >= LONG_RUN) {
    return;
  }
  let row = windowRow(run.x);
  if (row < params.windowRows) {
    let column = index % params.vectors;
    addTo(row, column, sumOf(place, 0u, 1u, run.y, column));
  }
}
