    // product_squares_end.wgsl: the rest of product_squares.wgsl, behind the depths of a part.
    }
    workgroupBarrier();
  }

  let row = place.firstRow + ownRow * 4u;
  let column = place.firstColumn + ownColumn * 4u;
  leaveRuns(place, row + 0u, column, s00, s01, s02, s03);
  leaveRuns(place, row + 1u, column, s10, s11, s12, s13);
  leaveRuns(place, row + 2u, column, s20, s21, s22, s23);
  leaveRuns(place, row + 3u, column, s30, s31, s32, s33);
  leaveRuns(place, row + HALF + 0u, column, s40, s41, s42, s43);
  leaveRuns(place, row + HALF + 1u, column, s50, s51, s52, s53);
  leaveRuns(place, row + HALF + 2u, column, s60, s61, s62, s63);
  leaveRuns(place, row + HALF + 3u, column, s70, s71, s72, s73);
}

/** The runs of one row. */
fn leaveRuns(place: Place, row: u32, column: u32, run0: vec4f, run1: vec4f, run2: vec4f, run3: vec4f) {
  leaveRow(place, row, column, run0);
  leaveRow(place, row, column + TILE / RUNS, run1);
  if (RUNS == 4u) {
    leaveRow(place, row, column + 2u * (TILE / RUNS), run2);
    leaveRow(place, row, column + 3u * (TILE / RUNS), run3);
  }
}
