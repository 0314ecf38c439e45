import type { ModelBackend } from '@phsa/core'
import { type BranchTensors, branchRepresentatives, branchScores, keyScores, type LayerSample } from './branch-scores.js'
import type { CalibrationPlan } from './calibration-options.js'
import { type FarPunctuation, farPunctuation } from './far-punctuation.js'
import { type HeadMasses, lambdaRecall, oracleRecall } from './lambda-recall.js'
import { sampledQueries } from './sampled-query.js'

/** What one layer gave in one window: sums over its sampled queries. */
export interface LayerMeasurement {
  /** `[settings][Hkv][candidates]`: recall of each lambda, the model's own the last. */
  readonly recalls: readonly (readonly (readonly number[])[])[]
  /** Recall of the oracle's blocks, [Hkv]. */
  readonly oracle: readonly number[]
  /** [Hkv] */
  readonly far: readonly FarPunctuation[]
}

/** What one window gave. */
export interface WindowMeasurement {
  /** Query rows that were sampled. */
  readonly queries: number
  /** A measurement of each layer; none where it attends densely. */
  readonly layers: readonly (LayerMeasurement | undefined)[]
}

/** A layer's sample with the rest of its window. */
export interface LayerMeasurementInput extends LayerSample {
  readonly layer: number
  /** One byte a token, [T]. */
  readonly marks: Uint8Array
  /** One for each number of representatives. */
  readonly branches: readonly BranchTensors[]
}

/**
 * Measures all lambdas and settings on one layer of one window. On the device: the masses once, both branches once for each number of representatives, and
 * a head's scores at a time, so that no more than `[n, G, T]` scores are on the host at once.
 */
export async function measureLayer(backend: ModelBackend, input: LayerMeasurementInput, plan: CalibrationPlan): Promise<LayerMeasurement> {
  const { q, k, rows, layout, packed, spec, layer, marks } = input
  const { memory, attention } = backend
  const { maxBlocks } = layout
  const queries = sampledQueries(packed, rows)
  const { mass, pooled } = memory.scope(() => ({
    mass: attention.blockMass({ q, k, rows: memory.upload(rows, [rows.length]), layout, spec }),
    pooled: input.branches.map((branches) => branchRepresentatives(backend, input, branches)),
  }))
  try {
    const masses = await memory.download(mass)
    const recalls: number[][][] = plan.settings.map(() => [])
    const oracle: number[] = []
    const far: FarPunctuation[] = []
    for (let head = 0; head < spec.kvHeads; head++) {
      const size = rows.length * maxBlocks
      const shared = { queries, masses: masses.subarray(head * size, (head + 1) * size), maxBlocks }
      const candidates = [...plan.lambdas, plan.before[layer][head]]
      for (const branches of pooled) {
        const scores = await branchScores(backend, input, branches, head)
        for (const [index, setting] of plan.settings.entries()) {
          if (setting.representatives !== branches.representatives) continue
          const masses: HeadMasses = { ...shared, spec: { ...spec, ...setting } }
          recalls[index].push(candidates.map((lambda) => lambdaRecall(masses, scores, lambda)))
        }
      }
      oracle.push(oracleRecall({ ...shared, spec }))
      far.push(farPunctuation(await keyScores(backend, input, head), queries, marks, spec))
    }
    return { recalls, oracle, far }
  } finally {
    mass.dispose()
    for (const { global, punctuation } of pooled) for (const tensor of [global, punctuation]) tensor.dispose()
  }
}
