// dense_scores.wgsl: what each pair of a chunk adds to q by its key, and to the key by q: the gradient of its score times the scale.

@group(0) @binding(4) var<storage, read> weights: array<vec4f>;             // [Hq, queries, keys]
@group(0) @binding(5) var<storage, read_write> dScores: array<vec4f>;

fn leaveRow(place: Place, row: u32, column: u32, sums: vec4f) {
  let at = pairsAt(place, row, column);
  dScores[at] = weights[at] * (sums - vec4f(statisticsOf(place, row).y)) * params.rules.scale;
}
