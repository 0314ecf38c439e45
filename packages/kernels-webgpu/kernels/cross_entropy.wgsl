// cross_entropy.wgsl: losses of a chunk of tokens from their logits in f32, and the gradients of these logits in place; the products with the output
// embedding are matmul's.
//
// A workgroup owns a token: one pass for the largest logit and the sum of exponentials, one that writes the gradient. Gradients in f16 begin where the row of
// their logits does, two in the place of one. No atomics, every sum in a fixed order. Bound: bytes of the logits.

struct Params {
  rows: u32,
  vocabulary: u32,
  stride: u32,      // floats from one row to the next, a multiple of 4
  firstToken: u32,  // of the chunk
  gradient: u32,    // 1: gradients are written
  half: u32,        // 1: in f16
}

@group(0) @binding(0) var<storage, read> targets: array<i32>;               // [tokens]
@group(0) @binding(1) var<storage, read> weights: array<f32>;               // [tokens]
@group(0) @binding(2) var<storage, read_write> logits: array<vec4u>;        // [rows, stride], the bits of floats
@group(0) @binding(3) var<storage, read_write> tokenLosses: array<f32>;     // [tokens]
@group(0) @binding(8) var<uniform> params: Params;

const THREADS = 256u;
/** Below every logit that is a number. */
const LEAST = -3.0e38;

/** Exponentials against the largest logit: x the largest, y their sum. */
var<workgroup> totals: array<vec2f, THREADS>;

/** Four logits of a row, far below all others beyond the last. */
fn loadFour(row: u32, four: u32) -> vec4f {
  let first = four * 4u;
  let values = bitcast<vec4f>(logits[row * (params.stride / 4u) + four]);
  return select(vec4f(LEAST), values, vec4u(first, first + 1u, first + 2u, first + 3u) < vec4u(params.vocabulary));
}

/** Two sums as one. */
fn merge(one: vec2f, other: vec2f) -> vec2f {
  let largest = max(one.x, other.x);
  return vec2f(largest, one.y * exp(one.x - largest) + other.y * exp(other.x - largest));
}

/** Largest logit of a row and the sum of exponentials, in every thread. */
fn sumRow(row: u32, fours: u32, thread: u32) -> vec2f {
  var total = vec2f(LEAST, 0.0);
  for (var four = thread; four < fours; four += THREADS) {
    let values = loadFour(row, four);
    let largest = max(max(values.x, values.y), max(values.z, values.w));
    total = merge(total, vec2f(largest, dot(exp(values - largest), vec4f(1.0))));
  }
  totals[thread] = total;
  for (var half = THREADS / 2u; half > 0u; half /= 2u) {
    workgroupBarrier();
    if (thread < half) {
      totals[thread] = merge(totals[thread], totals[thread + half]);
    }
  }
  return workgroupUniformLoad(&totals[0]);
}

/** weight (softmax - one at the target) in place of the logits; all 0 for weight 0. */
fn writeGradient(row: u32, fours: u32, thread: u32, weight: f32, label: u32, total: vec2f) {
  let start = row * (params.stride / 4u);
  let factor = weight / total.y;
  for (var first = 0u; first < fours; first += 2u * THREADS) {
    // Each thread owns eight neighbours, which are four places in f16.
    let four = first + 2u * thread;
    var low = vec4f();
    var high = vec4f();
    if (weight != 0.0) {
      low = gradientFour(row, four, fours, factor, weight, label, total.x);
      high = gradientFour(row, four + 1u, fours, factor, weight, label, total.x);
    }
    // A row in f16 overwrites logits that others have read by then.
    storageBarrier();
    if (params.half == 1u) {
      if (four < fours) {
        logits[start + four / 2u] = vec4u(pack2x16float(low.xy), pack2x16float(low.zw), pack2x16float(high.xy), pack2x16float(high.zw));
      }
    } else {
      if (four < fours) {
        logits[start + four] = bitcast<vec4u>(low);
      }
      if (four + 1u < fours) {
        logits[start + four + 1u] = bitcast<vec4u>(high);
      }
    }
  }
}

fn gradientFour(row: u32, four: u32, fours: u32, factor: f32, weight: f32, label: u32, largest: f32) -> vec4f {
  if (four >= fours) {
    return vec4f();
  }
  let first = four * 4u;
  let isLabel = vec4u(first, first + 1u, first + 2u, first + 3u) == vec4u(label);
  return factor * exp(loadFour(row, four) - largest) - select(vec4f(), vec4f(weight), isLabel);
}

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) id: vec3u, @builtin(num_workgroups) count: vec3u, @builtin(local_invocation_index) thread: u32) {
  let row = workgroupIndex(id, count);
  if (row >= params.rows) {
    return;
  }
  let token = params.firstToken + row;
  let weight = weights[token];
  let label = u32(targets[token]);
  let fours = (params.vocabulary + 3u) / 4u;
  let total = sumRow(row, fours, thread);
  if (thread == 0u) {
    var loss = 0.0;
    if (weight != 0.0) {
      // The largest logit is subtracted first: logits may be far larger than the loss.
      let place = row * (params.stride / 4u) + label / 4u;
      loss = total.x - bitcast<vec4f>(logits[place])[label % 4u] + log(total.y);
    }
    tokenLosses[token] = loss;
  }
  storageBarrier();
  if (params.gradient == 1u) {
    writeGradient(row, fours, thread, weight, label, total);
  }
}
