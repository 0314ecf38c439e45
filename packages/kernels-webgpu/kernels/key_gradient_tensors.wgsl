// key_gradient_tensors.wgsl: attend_key_gradient.wgsl leaves its sums in dk and dv.

@group(0) @binding(6) var<storage, read_write> dk: array<Element4>;         // [Tk, Hkv, D]
@group(0) @binding(7) var<storage, read_write> dv: array<Element4>;

/** Four dimensions, `part`, of row `row` of k and v. */
fn leaveSums(workgroup: u32, owned: u32, row: u32, part: u32, keySum: vec4f, valueSum: vec4f) {
  let at = row * PARTS + part;
  var before = array<vec4f, 2>();
  if (SELECTED == 1u) {
    before = array<vec4f, 2>(vec4f(dk[at]), vec4f(dv[at]));
  }
  dk[at] = Element4(before[0] + keySum);
  dv[at] = Element4(before[1] + valueSum);
}
