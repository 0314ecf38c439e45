// matmul_narrow.wgsl: matrices of any extents, one element at a time.

@group(0) @binding(0) var<storage, read> left: array<Element>;
@group(0) @binding(1) var<storage, read> right: array<Element>;
@group(0) @binding(2) var<storage, read_write> result: array<Result>;

/** Elements first .. first + 3 of the left matrix; anything where they are not its own. */
fn leftFour(first: u32) -> Element4 {
  return Element4(left[first], left[first + 1u], left[first + 2u], left[first + 3u]);
}

fn rightFour(first: u32) -> Element4 {
  return Element4(right[first], right[first + 1u], right[first + 2u], right[first + 3u]);
}

/** Four elements of which `count` count, the others as 0. */
fn upTo(count: u32, values: vec4f) -> vec4f {
  return select(vec4f(), values, vec4u(0u, 1u, 2u, 3u) < vec4u(count));
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
