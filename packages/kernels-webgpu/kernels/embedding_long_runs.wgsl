// embedding_long_runs.wgsl: the runs of embedding_runs.wgsl that are long. A workgroup owns the one that may begin in LONG_RUN places, and 32 of its columns, whose
// rows eight rows of threads share out. Bound: latency of the longest run.

const THREADS = 256u;
const COLUMNS = 32u;
const ROWS = THREADS / COLUMNS;
var<workgroup> parts: array<Vector, THREADS>;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) id: vec3u, @builtin(num_workgroups) count: vec3u, @builtin(local_invocation_index) thread: u32) {
  let first = workgroupIndex(id, count) * LONG_RUN;
  var place = first;
  while (place < min(first + LONG_RUN, params.places) && runs[place].y < LONG_RUN) {
    place++;
  }
  if (place >= min(first + LONG_RUN, params.places)) {
    return;
  }
  let run = runs[place];
  let row = windowRow(run.x);
  if (row >= params.windowRows) {
    return;
  }
  let column = id.z * COLUMNS + thread % COLUMNS;
  if (column < params.vectors) {
    parts[thread] = sumOf(place, thread / COLUMNS, ROWS, run.y, column);
  }
  workgroupBarrier();
  if (thread >= COLUMNS || column >= params.vectors) {
    return;
  }
  var sum = Vector();
  for (var part = thread; part < THREADS; part += COLUMNS) {
    sum += parts[part];
  }
  addTo(row, column, sum);
}
