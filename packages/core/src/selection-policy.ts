import type { AttentionBackend } from './contract/attention-backend.js'
import { type AttentionSpec, denseSpec } from './contract/attention-spec.js'
import type { Layout, TokenWeights } from './contract/layout.js'
import { elementCount, type Tensor } from './contract/tensor.js'
import { InvalidConfigError } from './errors/invalid-config-error.js'
import { type PhsaConfig, phsaConfig } from './phsa-config.js'
import { RandomStream } from './random-stream.js'

/** One attention of one layer, as a policy sees it: packed q and k, the token weights of its configuration, and its own spec (spec 1). */
export interface PolicyInput {
  /** [Tq, Hq, D] */
  readonly q: Tensor
  /** [Tk, Hkv, D] */
  readonly k: Tensor
  readonly weights: TokenWeights
  readonly layout: Layout
  readonly spec: AttentionSpec
}

/**
 * A way to choose blocks: PHSA itself or a baseline (spec 8). `configure` says which configuration it runs with, `spec` what its kernels
 * are compiled for, `select` fills `selected`; all of them then use the same `attend`.
 */
export interface SelectionPolicy {
  readonly name: PolicyName
  configure(config: PhsaConfig): PhsaConfig
  spec(spec: AttentionSpec): AttentionSpec
  /** i32 [Hkv, Tq, topK]; every call queues work and returns. */
  select(backend: AttentionBackend, input: PolicyInput): Tensor
}

/** Names of all policies, as in `--policy NAME` (spec 8). */
export const POLICY_NAMES = ['phsa', 'dense', 'mean-pool', 'punctuation-only', 'infllm-v2', 'random', 'oracle'] as const
/** Name of a policy (spec 8). */
export type PolicyName = (typeof POLICY_NAMES)[number]

const unchanged = {
  configure: (config: PhsaConfig) => config,
  spec: (spec: AttentionSpec) => spec,
}

/** Pool, score, take the best: for PHSA and the baselines that differ from it by parameters only. */
function selectByRepresentatives(backend: AttentionBackend, { q, k, weights, layout, spec }: PolicyInput): Tensor {
  return backend.memory.scope(() => {
    const reps = backend.attention.poolBlocks({ k, weights, layout, spec })
    return backend.attention.selectBlocks({ q, reps, layout, spec })
  })
}

/** PHSA with the configured lambda (spec 3, 4). */
export const phsaPolicy: SelectionPolicy = { name: 'phsa', ...unchanged, select: selectByRepresentatives }

/** Only the global branch: lambda = 1. */
export const meanPoolPolicy: SelectionPolicy = {
  name: 'mean-pool',
  ...unchanged,
  configure: (config) => ({ ...config, lambda: 1 }),
  select: selectByRepresentatives,
}

/** Only the punctuation branch: lambda = 0. */
export const punctuationOnlyPolicy: SelectionPolicy = {
  name: 'punctuation-only',
  ...unchanged,
  configure: (config) => ({ ...config, lambda: 0 }),
  select: selectByRepresentatives,
}

/** InfLLM v2: overlapping kernels of 32 keys at stride 16 (spec 8). @throws InvalidConfigError for blocks other than 16, 32 or 64 */
export const infllmV2Policy: SelectionPolicy = {
  name: 'infllm-v2',
  configure: (config) => phsaConfig({ lambda: 1, representatives: kernelsPerBlock(config.blockSize), score: 'overlap' }, config),
  spec: (spec) => ({ ...spec, representatives: kernelsPerBlock(spec.blockSize), score: 'overlap' }),
  select: selectByRepresentatives,
}

/** Kernels that start in one block, at stride 16. */
function kernelsPerBlock(blockSize: number): number {
  if ([16, 32, 64].includes(blockSize)) return blockSize / 16
  throw new InvalidConfigError(
    'blockSize',
    `blockSize is ${blockSize}; infllm-v2 takes blocks of 16, 32 or 64. Set blockSize to one of them, or choose another policy.`,
  )
}

/** Every earlier key. */
export const densePolicy: SelectionPolicy = {
  name: 'dense',
  configure: (config) => config,
  spec: denseSpec,
  select: (backend, { spec, layout }) => backend.memory.alloc([spec.kvHeads, layout.queryTokens, 0], 'i32'),
}

/**
 * Blocks drawn at random (spec 8). One stream lives as long as the policy, so every call (each layer, each step) draws anew. The seed and the
 * order of calls decide the blocks, on every backend the same: to repeat a run, make a new policy of the same seed.
 */
export function randomPolicy(seed = 0): SelectionPolicy {
  const random = new RandomStream(seed)
  return {
    name: 'random',
    ...unchanged,
    select: (backend, { spec, layout }) =>
      selectByScores(backend, { layout, spec }, ({ shape: [rows] }) => {
        const shape = [spec.kvHeads, rows, layout.maxBlocks]
        return backend.memory.upload(
          Float32Array.from({ length: elementCount(shape) }, () => random.uniform()),
          shape,
        )
      }),
  }
}

/** The blocks of highest true attention mass. Costs as much as dense attention. */
export const oraclePolicy: SelectionPolicy = {
  name: 'oracle',
  ...unchanged,
  select: (backend, { q, k, layout, spec }) =>
    selectByScores(backend, { layout, spec }, (rows) => backend.attention.blockMass({ q, k, rows, layout, spec })),
}

/** A policy by name, for flags and configuration files; `random` is a new one of seed 0 each time. @throws InvalidConfigError for another name */
export function selectionPolicy(name: string): SelectionPolicy {
  const policies = [phsaPolicy, densePolicy, meanPoolPolicy, punctuationOnlyPolicy, infllmV2Policy, randomPolicy(), oraclePolicy]
  const found = policies.find((policy) => policy.name === name)
  if (!found) throw new InvalidConfigError('policy', `${name} is no selection policy; there are ${POLICY_NAMES.join(', ')}.`)
  return found
}

/** Query rows that are scored at a time: bounds the scores to Hkv x 1024 x blocks floats. */
const CHUNK_ROWS = 1024

/** Selects for all query rows, a chunk of rows at a time. */
function selectByScores(
  backend: AttentionBackend,
  { layout, spec }: Pick<PolicyInput, 'layout' | 'spec'>,
  scoresOf: (rows: Tensor) => Tensor,
): Tensor {
  const { memory, attention } = backend
  return memory.scope(() => {
    const selected = memory.alloc([spec.kvHeads, layout.queryTokens, spec.topK], 'i32')
    for (let start = 0; start < layout.queryTokens; start += CHUNK_ROWS) {
      const count = Math.min(CHUNK_ROWS, layout.queryTokens - start)
      memory.scope(() => {
        const rows = memory.upload(
          Int32Array.from({ length: count }, (_, index) => start + index),
          [count],
        )
        attention.selectTop({ scores: scoresOf(rows), rows, selected, layout, spec })
      })
    }
    return selected
  })
}
