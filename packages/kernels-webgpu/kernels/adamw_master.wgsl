// adamw_master.wgsl: for adamw.wgsl, a parameter whose value follows an f32 copy.

@group(0) @binding(6) var<storage, read_write> master: array<f32>;

fn exactValue(index: u32) -> f32 {
  return master[index];
}

fn storeValue(index: u32, stepped: f32) {
  master[index] = stepped;
  value[index] = Element(stepped);
}
