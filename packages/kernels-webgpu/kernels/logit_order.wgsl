// logit_order.wgsl: logits as numbers that can be put in order: NaN counts as -infinity, and both zeros are the same.

/** Stands for -infinity, which compilers may take for impossible. */
const LEAST_LOGIT = -3.4028234e38;

fn logitOf(value: f32) -> f32 {
  let bits = bitcast<u32>(value);
  return select(value, LEAST_LOGIT, (bits & 0x7fffffffu) > 0x7f800000u || bits == 0xff800000u);
}

/** A number that rises with the logit. */
fn keyOf(logit: f32) -> u32 {
  let bits = bitcast<u32>(logit);
  if (bits == 0x80000000u) {
    return 0x80000000u;
  }
  return select(bits | 0x80000000u, ~bits, (bits & 0x80000000u) != 0u);
}

fn logitOfKey(key: u32) -> f32 {
  return bitcast<f32>(select(~key, key ^ 0x80000000u, (key & 0x80000000u) != 0u));
}
