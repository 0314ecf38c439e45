// row_tiles.wgsl: tiles of neighbouring rows, none of which crosses from one sequence into the next.

/** Rows of one sequence: `first` is relative to the sequence, `count` 0 for a tile that is not used. */
struct RowTile {
  sequence: u32,
  first: u32,
  count: u32,
}

/** Tile `index` of those of `size` rows. Sequence s has the indices from starts[s] / size + s on, so rows / size + S of them are enough. */
fn rowTile(starts: u32, size: u32, index: u32) -> RowTile {
  var low = 0u;
  var high = params.sequences.count;
  while (low < high) {
    let middle = (low + high + 1u) / 2u;
    if (u32(sequenceNumbers[starts + middle]) / size + middle <= index) {
      low = middle;
    } else {
      high = middle - 1u;
    }
  }
  if (low == params.sequences.count) {
    return RowTile(low, 0u, 0u);
  }
  let start = u32(sequenceNumbers[starts + low]);
  let rows = u32(sequenceNumbers[starts + low + 1u]) - start;
  let first = (index - start / size - low) * size;
  return RowTile(low, first, min(size, rows - min(rows, first)));
}
