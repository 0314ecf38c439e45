// mass_rows.wgsl: what the kernels of block masses share. An item is a tile of listed rows with one KV head; a launch works on consecutive items.

struct Params {
  sequences: Sequences,
  rules: Rules,
  count: u32,      // n
  maxBlocks: u32,
  firstItem: u32,
  items: u32,
  tileRows: u32,   // listed rows of an item
  runs: u32,       // of eight keys, of the longest sequence; whole tiles of 128 keys
}

override HEAD_DIM: u32;
/** Query heads of a KV head. */
override GROUP: u32;

@group(0) @binding(8) var<uniform> params: Params;
