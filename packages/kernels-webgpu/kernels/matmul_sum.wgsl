// matmul_sum.wgsl: adds the parts of a product, each over its share of the depth, in their order; one rounding on store. Bound: bytes of the parts.

struct Params {
  rows: u32,
  columns: u32,
  parts: u32,
  partElements: u32,  // from one part to the next
  accumulate: u32,    // 1: added to the result
  partFirst: u32,     // elements before the first part
  resultFirst: u32,
  resultStride: u32,
}

@group(0) @binding(0) var<storage, read> partial: array<f32>;  // [parts, rows, columns]
@group(0) @binding(1) var<storage, read_write> result: array<Result>;
@group(0) @binding(8) var<uniform> params: Params;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) id: vec3u, @builtin(num_workgroups) count: vec3u, @builtin(local_invocation_index) thread: u32) {
  const elements = 4u;
  let first = workgroupIndex(id, count) * 256u * elements + thread;
  for (var step = 0u; step < elements; step++) {
    let element = first + step * 256u;
    if (element < params.rows * params.columns) {
      let place = params.resultFirst + element / params.columns * params.resultStride + element % params.columns;
      var sum = 0.0;
      for (var part = 0u; part < params.parts; part++) {
        sum += partial[params.partFirst + part * params.partElements + element];
      }
      if (params.accumulate == 1u) {
        sum += f32(result[place]);
      }
      result[place] = Result(sum);
    }
  }
}
