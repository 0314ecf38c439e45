// attend_keys.wgsl: where the keys lie that a query attends to (spec 5), and what attention kernels bind.

struct Params {
  sequences: Sequences,
  rules: Rules,
}

override HEAD_DIM: u32;

@group(0) @binding(1) var<storage, read> q: array<Element4>;           // [Tq, Hq, D]
@group(0) @binding(2) var<storage, read> k: array<Element4>;           // [Tk, Hkv, D], or pages
@group(0) @binding(3) var<storage, read> v: array<Element4>;
@group(0) @binding(4) var<storage, read> selected: array<i32>;         // [Hkv, Tq, topK]
@group(0) @binding(5) var<storage, read_write> out: array<Element4>;   // [Tq, Hq, D]
@group(0) @binding(6) var<storage, read_write> lse: array<f32>;        // [Tq, Hq]
@group(0) @binding(8) var<uniform> params: Params;

/** Below every score, and safe to subtract from itself: compilers may take infinities for impossible. */
const LOWEST = -3.0e38;

/** Begin of a query's row of `selected`. */
fn selectedRow(row: u32, kvHead: u32) -> u32 {
  return (kvHead * params.sequences.queryTokens + row) * params.rules.topK;
}

/** Number of blocks in a row of `selected`: they stand before the first -1. */
fn chosenBlocks(first: u32) -> u32 {
  var low = 0u;
  var high = params.rules.topK;
  while (low < high) {
    let middle = (low + high) / 2u;
    if (selected[first + middle] >= 0) {
      low = middle + 1u;
    } else {
      high = middle;
    }
  }
  return low;
}

/** Natural logarithm of a row's sum of exponentials; -Infinity for a row without keys. */
fn logSum(largest: f32, total: f32) -> f32 {
  if (total > 0.0) {
    return largest + log(total);
  }
  var minusInfinity = 0xff800000u;
  return bitcast<f32>(minusInfinity);
}
