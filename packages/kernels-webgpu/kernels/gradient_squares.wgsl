// gradient_squares.wgsl: sums of squares of a gradient, or of the window of it that is bound. A workgroup owns 16,384 elements. Bound: bytes.

struct Params {
  count: u32,
  firstPartial: u32,
}

@group(0) @binding(0) var<storage, read> gradient: array<Element>;
@group(0) @binding(1) var<storage, read_write> partials: array<Squares>;
@group(0) @binding(8) var<uniform> params: Params;

const OWNED = 16384u;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) id: vec3u, @builtin(num_workgroups) count: vec3u, @builtin(local_invocation_index) thread: u32) {
  let group = workgroupIndex(id, count);
  let first = group * OWNED;
  if (first >= params.count) {
    return;
  }
  var squares = Squares();
  for (var index = first + thread; index < min(first + OWNED, params.count); index += 256u) {
    addSquare(&squares, f32(gradient[index]));
  }
  let sum = workgroupSquares(squares, thread);
  if (thread == 0u) {
    partials[params.firstPartial + group] = sum;
  }
}
