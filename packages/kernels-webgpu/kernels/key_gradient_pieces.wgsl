// key_gradient_pieces.wgsl: attend_key_gradient.wgsl leaves its sums for sum_key_pieces.wgsl.

@group(0) @binding(6) var<storage, read_write> pieces: array<vec4f>;        // [workgroups, OWNED, 2, D]: dk, dv

/** Four dimensions, `part`, of the workgroup's row `owned`. */
fn leaveSums(workgroup: u32, owned: u32, row: u32, part: u32, keySum: vec4f, valueSum: vec4f) {
  let at = (workgroup * OWNED + owned) * 2u * PARTS + part;
  pieces[at] = keySum;
  pieces[at + PARTS] = valueSum;
}
