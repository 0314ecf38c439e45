// dense_weights.wgsl: the probability of each pair of a chunk, 0 where the key is not seen. Numerics: f32, from the given lse.

@group(0) @binding(4) var<storage, read_write> weights: array<vec4f>;       // [Hq, queries, keys]

fn leaveRow(place: Place, row: u32, column: u32, sums: vec4f) {
  let key = vec4u(place.own.w + column - place.firstColumn) + vec4u(0u, 1u, 2u, 3u);
  let isSeen = key <= vec4u(place.own.z + row - place.firstRow);
  let probabilities = exp(fma(sums, vec4f(params.rules.scale), vec4f(-statisticsOf(place, row).x)));
  weights[pairsAt(place, row, column)] = select(vec4f(), probabilities, isSeen);
}
