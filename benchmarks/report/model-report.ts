import type { ModelResult } from '../model/model-result.js'
import { deviceName } from './merge-results.js'

/** One row of `peers/model.py`. Plain JSON. */
export interface ModelPeerRow {
  readonly group: 'prefill' | 'train'
  readonly length: number
  readonly milliseconds?: number
  readonly deviation?: number
  readonly samples?: readonly number[]
  readonly peakBytes?: number
  /** Why there is no figure. */
  readonly skipped?: string
}

/** The result file of `peers/model.py`. Plain JSON. */
export interface ModelPeersResult {
  readonly format: 'phsa-model-peers/1'
  readonly device: string
  readonly versions: Readonly<Record<string, string | number>>
  readonly rows: readonly ModelPeerRow[]
}

/** `benchmarks/results/<device>-model.json`. Plain JSON. */
export interface ModelReport {
  readonly format: 'phsa-model-report/1'
  readonly ours: ModelResult
  /** Absent where there was no PyTorch. */
  readonly peers?: ModelPeersResult
}

/** One run of `bench-model`, ours and the peers'. @throws TypeError where they ran on different GPUs */
export function modelReport(ours: ModelResult, peers: ModelPeersResult | undefined): ModelReport {
  if (peers && peers.device !== deviceName(ours)) {
    throw new TypeError(`ours is of ${deviceName(ours)}, the peers are of ${peers.device}; give a folder of one run.`)
  }
  return { format: 'phsa-model-report/1', ours, ...(peers ? { peers } : {}) }
}
