// embedding.wgsl: rows of a table, or of the window of it that is bound (spec 1).
//
// A thread copies one vector of a row; neighbours copy neighbours. Bound: bytes, a row read and written for each token.

struct Params {
  tokens: u32,
  vectors: u32,    // of a row
  firstRow: u32,   // of the window
  windowRows: u32,
  isFirst: u32,    // 1 in the window that clears rows of id -1
}

@group(0) @binding(0) var<storage, read> table: array<ElementVector>;       // [windowRows, E]
@group(0) @binding(1) var<storage, read> ids: array<i32>;                   // [T]
@group(0) @binding(2) var<storage, read_write> rows: array<ElementVector>;  // [T, E]
@group(0) @binding(8) var<uniform> params: Params;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) id: vec3u, @builtin(num_workgroups) count: vec3u, @builtin(local_invocation_index) thread: u32) {
  let index = workgroupIndex(id, count) * 256u + thread;
  let token = index / params.vectors;
  if (token >= params.tokens) {
    return;
  }
  let row = ids[token];
  if (row < 0) {
    if (params.isFirst == 1u) {
      rows[index] = ElementVector();
    }
    return;
  }
  let own = u32(row) - params.firstRow;
  // Below the first one it is a huge number.
  if (own < params.windowRows) {
    rows[index] = table[own * params.vectors + index % params.vectors];
  }
}
