// squares_64.wgsl: product_squares.wgsl with 8 x 8 elements a thread, for small products.

const TILE = 64u;
const RUNS = 2u;
const THREADS = 64u;
