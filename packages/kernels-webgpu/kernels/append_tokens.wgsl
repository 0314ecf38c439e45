// append_tokens.wgsl: new keys and values into their pages, and the running representatives (spec 6).
//
// A thread owns four dimensions of one sub-block of one KV head that the new tokens touch, copies them and adds the keys in token order, starting from
// what is stored unless the sub-block begins here: any split into steps adds the same numbers in the same order and leaves the same bits. When the last
// token of the sub-block arrives, the representative takes the place of the sum of keys. Bound: bytes of k and v. Numerics: f32 sums.

struct Params {
  sequences: Sequences,
  rules: Rules,
  subBlocks: u32,      // that may be touched
  markedSumsAt: u32,   // in sums: f32 [sub-blocks, Hkv, D]; before them those of keys, of a complete sub-block its representative
  marksAt: u32,        // in sums: f32 [sub-blocks, Hkv, D / 4], punctuation tokens so far, one a thread
}

override HEAD_DIM: u32;

@group(0) @binding(1) var<storage, read> k: array<Element4>;                  // [Tq, Hkv, D]
@group(0) @binding(2) var<storage, read> v: array<Element4>;
@group(0) @binding(3) var<storage, read> marks: array<f32>;                   // [Tq]
@group(0) @binding(4) var<storage, read> lambda: array<f32>;                  // [Hkv]
@group(0) @binding(5) var<storage, read_write> keyPages: array<Element4>;     // [slots, Hkv, D]
@group(0) @binding(6) var<storage, read_write> valuePages: array<Element4>;
@group(0) @binding(7) var<storage, read_write> sums: array<f32>;
@group(0) @binding(8) var<uniform> params: Params;

/**
 * The sequence of the `index`-th sub-block that may be touched: n tokens touch at most n / size + 2 of them, so sequence s has the indices from
 * queryStarts[s] / size + 2 s on.
 */
fn touchedSequence(index: u32, size: u32) -> u32 {
  var low = 0u;
  var high = params.sequences.count;
  while (low < high) {
    let middle = (low + high + 1u) / 2u;
    if (queryStart(middle) / size + 2u * middle <= index) {
      low = middle;
    } else {
      high = middle - 1u;
    }
  }
  return low;
}

fn loadSum(at: u32) -> vec4f {
  return vec4f(sums[at], sums[at + 1u], sums[at + 2u], sums[at + 3u]);
}

fn storeSum(at: u32, sum: vec4f) {
  sums[at] = sum.x;
  sums[at + 1u] = sum.y;
  sums[at + 2u] = sum.z;
  sums[at + 3u] = sum.w;
}

@compute @workgroup_size(128)
fn main(@builtin(workgroup_id) id: vec3u, @builtin(num_workgroups) count: vec3u, @builtin(local_invocation_index) thread: u32) {
  let parts = HEAD_DIM / 4u;
  let item = workgroupIndex(id, count) * 128u + thread;
  let kvHead = item / parts % params.rules.kvHeads;
  let index = item / parts / params.rules.kvHeads;
  if (index >= params.subBlocks) {
    return;
  }
  let size = params.rules.blockSize / params.rules.representatives;
  let sequence = touchedSequence(index, size);
  if (sequence == params.sequences.count) {
    return;
  }
  let firstRow = queryStart(sequence);
  let length = keyCount(sequence);
  let firstNew = length - (queryStart(sequence + 1u) - firstRow);
  let subBlock = firstNew / size + index - (firstRow / size + 2u * sequence);
  let start = max(firstNew, subBlock * size);
  let end = min(length, (subBlock + 1u) * size);
  if (start >= end) {
    return;
  }

  let part = item % parts;
  let stored = representativeRow(sequence, kvHead, subBlock) * parts + part;
  var keySum = vec4f();
  var markedSum = vec4f();
  var marked = 0.0;
  if (start > subBlock * size) {
    keySum = loadSum(4u * stored);
    markedSum = loadSum(params.markedSumsAt + 4u * stored);
    marked = sums[params.marksAt + stored];
  }
  for (var position = start; position < end; position++) {
    let row = firstRow + position - firstNew;
    let source = (row * params.rules.kvHeads + kvHead) * parts + part;
    let slot = (keyRow(sequence, position) * params.rules.kvHeads + kvHead) * parts + part;
    let key = k[source];
    keyPages[slot] = key;
    valuePages[slot] = v[source];
    keySum += vec4f(key);
    if (marks[row] != 0.0) {
      markedSum += vec4f(key);
      marked += 1.0;
    }
  }
  storeSum(params.markedSumsAt + 4u * stored, markedSum);
  sums[params.marksAt + stored] = marked;
  if (end == (subBlock + 1u) * size) {
    let global = keySum / f32(size);
    var punctuation = global;
    if (marked > 0.0) {
      punctuation = markedSum / marked;
    }
    keySum = lambda[kvHead] * global + (1.0 - lambda[kvHead]) * punctuation;
  }
  storeSum(4u * stored, keySum);
}
