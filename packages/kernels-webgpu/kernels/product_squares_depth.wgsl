      // product_squares_depth.wgsl: what product_squares.wgsl does with each of the four depths of a part, of which DEPTH is one.
      {
        let upper = leftTile[part][DEPTH][0][rowPlace];
        let lower = leftTile[part][DEPTH][1][rowPlace];
        let run0 = rightTile[part][DEPTH][0][columnPlace];
        let run1 = rightTile[part][DEPTH][1][columnPlace];
        s00 = fma(vec4f(upper.x), run0, s00);
        s01 = fma(vec4f(upper.x), run1, s01);
        s10 = fma(vec4f(upper.y), run0, s10);
        s11 = fma(vec4f(upper.y), run1, s11);
        s20 = fma(vec4f(upper.z), run0, s20);
        s21 = fma(vec4f(upper.z), run1, s21);
        s30 = fma(vec4f(upper.w), run0, s30);
        s31 = fma(vec4f(upper.w), run1, s31);
        s40 = fma(vec4f(lower.x), run0, s40);
        s41 = fma(vec4f(lower.x), run1, s41);
        s50 = fma(vec4f(lower.y), run0, s50);
        s51 = fma(vec4f(lower.y), run1, s51);
        s60 = fma(vec4f(lower.z), run0, s60);
        s61 = fma(vec4f(lower.z), run1, s61);
        s70 = fma(vec4f(lower.w), run0, s70);
        s71 = fma(vec4f(lower.w), run1, s71);
        if (RUNS == 4u) {
          let run2 = rightTile[part][DEPTH][2u % RUNS][columnPlace];
          let run3 = rightTile[part][DEPTH][3u % RUNS][columnPlace];
          s02 = fma(vec4f(upper.x), run2, s02);
          s03 = fma(vec4f(upper.x), run3, s03);
          s12 = fma(vec4f(upper.y), run2, s12);
          s13 = fma(vec4f(upper.y), run3, s13);
          s22 = fma(vec4f(upper.z), run2, s22);
          s23 = fma(vec4f(upper.z), run3, s23);
          s32 = fma(vec4f(upper.w), run2, s32);
          s33 = fma(vec4f(upper.w), run3, s33);
          s42 = fma(vec4f(lower.x), run2, s42);
          s43 = fma(vec4f(lower.x), run3, s43);
          s52 = fma(vec4f(lower.y), run2, s52);
          s53 = fma(vec4f(lower.y), run3, s53);
          s62 = fma(vec4f(lower.z), run2, s62);
          s63 = fma(vec4f(lower.z), run3, s63);
          s72 = fma(vec4f(lower.w), run2, s72);
          s73 = fma(vec4f(lower.w), run3, s73);
        }
      }
