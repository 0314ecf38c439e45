// sample_row.wgsl: what the kernels share that draw a token a row: how a row is drawn from, and its logits by their distance from the largest one, in bins.

struct Params {
  vectors: u32,      // of a row
  rows: u32,
  parts: u32,        // of a row
  partVectors: u32,
  excessScale: f32,  // of an excess as an integer, so that V of them fit into 32 bits
}

@group(0) @binding(0) var<storage, read> logits: array<ElementVector>;  // [S, V]
@group(0) @binding(1) var<storage, read> control: array<f32>;           // [S, 5]: temperature, topK, topP, minP, uniform number
@group(0) @binding(8) var<uniform> params: Params;

const THREADS = 256u;
const BINS = 1024u;
const BIN_WIDTH = 1.0 / 32.0;
/** Distance from which on a logit has no mass. */
const RANGE = f32(BINS) * BIN_WIDTH;
const ALL = 0xffffffffu;

/** A row's words behind its counts [BINS] and excesses [BINS]: how many candidates there are, in bins up to which, and all that is binned. */
const CANDIDATES = 2u * BINS;
const LAST_BIN = CANDIDATES + 1u;
const BINNED_COUNT = CANDIDATES + 2u;
const BINNED_MASS = CANDIDATES + 3u;
const ROW_WORDS = CANDIDATES + 4u;

/** A row's control, and its largest logit with the lowest id that has it. */
struct Draw {
  temperature: f32,
  topK: f32,
  topP: f32,
  uniformNumber: f32,
  /** Distance up to which minP keeps tokens. */
  limit: f32,
  largest: f32,
  inverseTemperature: f32,
  likeliest: u32,
  /** Whether there are shares to draw by: only where the largest is finite. */
  hasShares: bool,
}

fn drawOf(row: u32, largestKey: u32, likeliest: u32) -> Draw {
  const infiniteKey = 0xff800000u;
  let temperature = control[row * 5u];
  let minP = control[row * 5u + 3u];
  let largest = logitOfKey(largestKey);
  return Draw(
    temperature,
    ceil(control[row * 5u + 1u]),
    control[row * 5u + 2u],
    control[row * 5u + 4u],
    select(RANGE, max(-log(max(minP, 1e-37)), 0.0), minP > 0.0),
    largest,
    1.0 / max(temperature, 1e-37),
    likeliest,
    temperature > 0.0 && largestKey < infiniteKey && largest > LEAST_LOGIT,
  );
}

fn distanceOf(draw: Draw, logit: f32) -> f32 {
  return (draw.largest - logit) * draw.inverseTemperature;
}

fn binOf(distance: f32) -> u32 {
  return u32(distance / BIN_WIDTH);
}

/** By how much a logit's mass is less than that at its bin's start, over the latter, as an integer. */
fn excessOf(distance: f32, bin: u32) -> u32 {
  let x = distance - f32(bin) * BIN_WIDTH;
  // 1 - exp(-x), where x is below 1/32.
  return u32(x * (1.0 - x * (0.5 - x * (1.0 / 6.0))) * params.excessScale + 0.5);
}

/** Count and mass. */
fn totalsOf(count: u32, excess: u32, bin: u32) -> vec2f {
  return vec2f(f32(count), exp(-f32(bin) * BIN_WIDTH) * (f32(count) - f32(excess) / params.excessScale));
}
