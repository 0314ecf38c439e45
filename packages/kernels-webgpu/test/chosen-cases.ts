/**
 * Conformance cases by glob: software adapters compile for up to a second for each kernel and shape, so that the whole suite takes many minutes. `npm test`
 * runs these; an environment variable names others, with commas between, and `*` is the whole suite.
 *
 * - PHSA_WEBGPU_CASES in Node on SwiftShader, PHSA_LEAST_CASES there on a device with WebGPU's defaults, PHSA_LAVAPIPE_CASES in Node on lavapipe,
 *   PHSA_BROWSER_CASES in Chromium
 * - PHSA_FIXTURES for attention fixtures in Node, and `qwen3-tiny` for the model fixture
 */
export function chosenCases(variable: string, usual: readonly string[]): readonly string[] {
  return process.env[variable]?.split(',').filter(Boolean) ?? usual
}

/** In Chromium: what the model fixture, which has attention and the operations forward and backward, does not reach. */
export const BROWSER_CASES = [
  'f32/memory/*',
  'f32/errors/*-tensor',
  'f32/errors/wrong-shape',
  'f32/errors/backend-*',
  'f32/select-top/m8-t53',
  'f32/nan-poison/decode',
]

/** Attention fixtures, by name: those that compile the kernels of `small`. PHSA_FIXTURES names others. */
export const NODE_FIXTURES = ['small', 'wide-blocks']

/** What has a path of its own where a device has no subgroups. */
export const LEAST_CASES = [
  'f32/memory/copy',
  'f32/attend/m16-t101',
  'f32/select-top/m16-t101',
  'f32/ops/rms-norm-37x130',
  'f32/ops/rms-norm-backward-37x130',
  'f32/ops/qk-norm-rope*',
  'f32/ops/linear-37x65x33',
  'f32/ops/cross-entropy-far*',
  'f32/ops/gradient-norm-*',
  'f32/ops/sample*',
]

/** In Node on SwiftShader: everything that compiles fast, and of attention one head dimension and group; of small blocks what depends on their size. */
export const NODE_CASES = [
  '*32/memory/*',
  'f32/errors/*',
  'f32/capture/attention',
  'f32/pool/*',
  'f32/ops/*',
  'f32/pool*/m8-t53',
  'f32/attend*/m8-t53',
  'f32/select-top/m8-t53',
  'f32/*/m16-t101',
  'f32/*/packed',
  'f32/*/decode',
  'f32/*/chunk-mixed',
  'f32/paged/mixed',
]

/** In Node on lavapipe, which compiles longest: half a minute for `linear`'s gradients, two minutes for those of attention. */
export const LAVAPIPE_CASES = [
  'f16/memory/*',
  'f16/pool/*',
  'f16/attend/m16-t101',
  'f16/ops/rms-norm*',
  'f16/ops/qk-norm-rope*',
  'f16/ops/swiglu*',
  'f16/ops/add*',
  'f16/ops/gradient-norm*',
]
