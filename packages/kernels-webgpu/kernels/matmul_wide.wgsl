// matmul_wide.wgsl: matrices whose rows in memory, and where they begin, are multiples of four elements: one load for four of them.

@group(0) @binding(0) var<storage, read> left: array<Element4>;
@group(0) @binding(1) var<storage, read> right: array<Element4>;
@group(0) @binding(2) var<storage, read_write> result: array<Result4>;

/** Elements first .. first + 3 of the left matrix; anything where they are not its own. */
fn leftFour(first: u32) -> Element4 {
  return left[first / 4u];
}

fn rightFour(first: u32) -> Element4 {
  return right[first / 4u];
}

/** Four elements of which `count` count, the others as 0: here all or none do. */
fn upTo(count: u32, values: vec4f) -> vec4f {
  return select(vec4f(), values, count > 0u);
}

/** Writes `count` of four elements from `first` on, or adds them to what is there. */
fn storeFour(first: u32, count: u32, values: vec4f, accumulate: bool) {
  if (count == 0u) {
    return;
  }
  var sums = values;
  if (accumulate) {
    sums += vec4f(result[first / 4u]);
  }
  result[first / 4u] = Result4(sums);
}
