// gradient_norm.wgsl: the L2 norm of what gradient_squares.wgsl left, added up by one workgroup in a fixed order, and the scale that clips it.

struct Params {
  partials: u32,
  maxNorm: f32,
}

@group(0) @binding(0) var<storage, read> partials: array<Squares>;
@group(0) @binding(1) var<storage, read_write> norm: array<u32>;  // f32 [2] by their bits: the norm, the clip scale
@group(0) @binding(8) var<uniform> params: Params;

const NOT_A_NUMBER = 0x7fc00000u;

/** Of sums that are finite. */
fn rootOf(squares: Squares) -> f32 {
  if (squares.large > 0.0) {
    return sqrt(squares.large + squares.ordinary * LARGE_SCALE * LARGE_SCALE) / LARGE_SCALE;
  }
  if (squares.ordinary > 0.0) {
    return sqrt(squares.ordinary + squares.small / SMALL_SCALE / SMALL_SCALE);
  }
  return sqrt(squares.small) / SMALL_SCALE;
}

@compute @workgroup_size(256)
fn main(@builtin(local_invocation_index) thread: u32) {
  var own = Squares();
  for (var index = thread; index < params.partials; index += 256u) {
    let part = partials[index];
    own = Squares(own.ordinary + part.ordinary, own.large + part.large, own.small + part.small, own.notFinite + part.notFinite);
  }
  let squares = workgroupSquares(own, thread);
  if (thread != 0u) {
    return;
  }
  let root = rootOf(squares);
  let bits = select(bitcast<u32>(root), NOT_A_NUMBER, squares.notFinite > 0.0);
  norm[0] = bits;
  if (bits >= 0x7f800000u) {
    norm[1] = 0u;
  } else {
    norm[1] = bitcast<u32>(select(params.maxNorm / root, 1.0, root <= params.maxNorm));
  }
}
