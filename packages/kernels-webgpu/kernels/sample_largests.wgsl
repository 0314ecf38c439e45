// sample_largests.wgsl: the draw of a row, when the largest logits of its parts are known.

@group(0) @binding(2) var<storage, read> largests: array<vec2u>;  // [S, parts]: key, id

fn rowDraw(row: u32) -> Draw {
  var likeliest = vec2u();
  for (var part = 0u; part < params.parts; part++) {
    let own = largests[row * params.parts + part];
    // The first part that has the largest has the lowest id.
    if (own.x > likeliest.x) {
      likeliest = own;
    }
  }
  return drawOf(row, likeliest.x, likeliest.y);
}
