// sigmoid.wgsl: 1 / (1 + exp(-x)), far out as well: no exponential overflows.

fn sigmoid(value: Vector) -> Vector {
  let small = exp(-abs(value));
  return select(small, Vector(1.0), value >= Vector()) / (1.0 + small);
}
