// head_rows.wgsl: rows [D] of heads, each owned by LANES neighbouring threads, of which one takes a vector of the first half and the one that rotates with it.

/** A power of two up to 256; those beyond the vectors of half a row only help to add up. */
override LANES: u32;

const THREADS = 256u;
var<workgroup> laneParts: array<vec2f, THREADS>;

/** Two vectors D / 2 apart. */
struct Pair {
  first: Vector,
  second: Vector,
}

/** Sum over the threads of a row. */
fn laneSum2(value: vec2f, thread: u32) -> vec2f {
  workgroupBarrier();
  laneParts[thread] = value;
  workgroupBarrier();
  let first = thread / LANES * LANES;
  var sum = vec2f();
  for (var lane = 0u; lane < LANES; lane++) {
    sum += laneParts[first + lane];
  }
  return sum;
}
