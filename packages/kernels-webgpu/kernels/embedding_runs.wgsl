// embedding_runs.wgsl: what the kernels share that add rows of gradients to the rows of a table, or of the window of it that is bound.
//
// Tokens come in the order of their ids (token_runs.wgsl): who owns the place where a run of one id begins adds all its rows to the table's row, so that no
// race decides the rounding. Numerics: f32 sums, one rounding on store.

struct Params {
  places: u32,     // T
  vectors: u32,    // of a row
  firstRow: u32,   // of the window
  windowRows: u32,
}

@group(0) @binding(0) var<storage, read> dOut: array<ElementVector>;          // [T, E]
@group(0) @binding(1) var<storage, read> ids: array<i32>;                     // [T]
@group(0) @binding(2) var<storage, read> runs: array<vec2u>;                  // [T]: token, length of the run that begins here
@group(0) @binding(3) var<storage, read_write> dTable: array<TargetVector>;   // [windowRows, E]
@group(0) @binding(8) var<uniform> params: Params;

/** Length from which on a run is shared by many threads: at most one such begins in so many places. */
const LONG_RUN = 32u;

/** Row of the window that a token adds to; windowRows or more for one outside. */
fn windowRow(token: u32) -> u32 {
  // Below the first one it is a huge number.
  return u32(ids[token]) - params.firstRow;
}

/** Sum over every step-th row of a run. */
fn sumOf(place: u32, first: u32, step: u32, length: u32, column: u32) -> Vector {
  var sum = Vector();
  for (var index = first; index < length; index += step) {
    sum += Vector(dOut[runs[place + index].x * params.vectors + column]);
  }
  return sum;
}

fn addTo(row: u32, column: u32, sum: Vector) {
  let at = row * params.vectors + column;
  dTable[at] = TargetVector(Vector(dTable[at]) + sum);
}
