// matmul_narrow.wgsl: matrices of any extents, one element at a time.

@group(0) @binding(0) var<storage, read> left: array<Element>;
@group(0) @binding(1) var<storage, read> right: array<Element>;
@group(0) @binding(2) var<storage, read_write> result: array<Result>;

/** Elements first .. first + 3 of the left matrix, of which `count` are its own; the others are 0. */
fn leftFour(first: u32, count: u32) -> vec4f {
  var four = vec4f();
  for (var index = 0u; index < min(count, 4u); index++) {
    four[index] = f32(left[first + index]);
  }
  return four;
}

fn rightFour(first: u32, count: u32) -> vec4f {
  var four = vec4f();
  for (var index = 0u; index < min(count, 4u); index++) {
    four[index] = f32(right[first + index]);
  }
  return four;
}

/** Writes `count` of four elements from `first` on, or adds them to what is there. */
fn storeFour(first: u32, count: u32, values: vec4f, accumulate: bool) {
  for (var index = 0u; index < min(count, 4u); index++) {
    var sum = values[index];
    if (accumulate) {
      sum += f32(result[first + index]);
    }
    result[first + index] = Result(sum);
  }
}
