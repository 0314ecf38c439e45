// sum_key_pieces.wgsl: the gradients of the first keys of each sequence, from the sums that attend_key_gradient.wgsl left piece by piece, in their order.
//
// A thread owns four dimensions of one key of one KV head. Bound: bytes of the pieces.

struct Params {
  sequences: Sequences,
  rules: Rules,
  tiles: u32,  // of first keys, for each sequence
}

override HEAD_DIM: u32;
override OWNED: u32;
override PIECES: u32;
override PARTS = HEAD_DIM / 4u;

@group(0) @binding(1) var<storage, read> pieces: array<vec4f>;              // [S, tiles, Hkv, PIECES, OWNED, 2, D]
@group(0) @binding(2) var<storage, read_write> dk: array<Element4>;         // [Tk, Hkv, D]
@group(0) @binding(3) var<storage, read_write> dv: array<Element4>;
@group(0) @binding(8) var<uniform> params: Params;

@compute @workgroup_size(128)
fn main(@builtin(workgroup_id) id: vec3u, @builtin(num_workgroups) count: vec3u, @builtin(local_invocation_index) thread: u32) {
  let index = workgroupIndex(id, count) * 128u + thread;
  let part = index % PARTS;
  let owned = index / PARTS % OWNED;
  let item = index / PARTS / OWNED;  // of [S, tiles, Hkv]
  let kvHead = item % params.rules.kvHeads;
  let tile = item / params.rules.kvHeads;
  let sequence = tile / params.tiles;
  if (sequence >= params.sequences.count) {
    return;
  }
  let key = tile % params.tiles * OWNED + owned;
  if (key >= keyCount(sequence)) {
    return;
  }
  var keySum = vec4f();
  var valueSum = vec4f();
  for (var piece = 0u; piece < PIECES; piece++) {
    let at = ((item * PIECES + piece) * OWNED + owned) * 2u * PARTS + part;
    keySum += pieces[at];
    valueSum += pieces[at + PARTS];
  }
  let at = (keyRow(sequence, key) * params.rules.kvHeads + kvHead) * PARTS + part;
  dk[at] = Element4(keySum);
  dv[at] = Element4(valueSum);
}
