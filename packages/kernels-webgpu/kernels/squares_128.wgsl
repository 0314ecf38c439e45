// squares_128.wgsl: product_squares.wgsl with 8 x 16 elements a thread, where there are tiles enough.

const TILE = 128u;
const RUNS = 4u;
const THREADS = 128u;
