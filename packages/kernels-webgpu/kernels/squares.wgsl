// squares.wgsl: sums of squares that neither overflow nor vanish in f32, as Blue's algorithm keeps them: one sum for numbers of ordinary size, one for large ones
// scaled down and one for small ones scaled up.

struct Squares {
  ordinary: f32,
  large: f32,     // times LARGE_SCALE^2
  small: f32,     // times SMALL_SCALE^2
  notFinite: f32, // 0, or more where a number was infinite or NaN
}

const LARGE = 0x1p52f;
const SMALL = 0x1p-63f;
const LARGE_SCALE = 0x1p-76f;
const SMALL_SCALE = 0x1p75f;

fn addSquare(squares: ptr<function, Squares>, number: f32) {
  // By its bits: compilers may take it for granted that numbers are finite.
  let bits = bitcast<u32>(number) & 0x7fffffffu;
  let size = bitcast<f32>(bits);
  if (bits >= 0x7f800000u) {
    (*squares).notFinite = 1.0;
  } else if (size > LARGE) {
    let scaled = size * LARGE_SCALE;
    (*squares).large = fma(scaled, scaled, (*squares).large);
  } else if (size < SMALL) {
    let scaled = size * SMALL_SCALE;
    (*squares).small = fma(scaled, scaled, (*squares).small);
  } else {
    (*squares).ordinary = fma(size, size, (*squares).ordinary);
  }
}

fn workgroupSquares(own: Squares, thread: u32) -> Squares {
  let finite = workgroupSum2(vec2f(own.ordinary, own.large), thread);
  let others = workgroupSum2(vec2f(own.small, own.notFinite), thread);
  return Squares(finite.x, finite.y, others.x, others.y);
}
