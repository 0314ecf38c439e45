// adamw_value.wgsl: for adamw.wgsl, a parameter whose value is all there is.

fn exactValue(index: u32) -> f32 {
  return f32(value[index]);
}

fn storeValue(index: u32, stepped: f32) {
  value[index] = Element(stepped);
}
