import type { TrainResult } from '../train/train-result.js'
import { deviceName } from './merge-results.js'

/** One way to take a step in PyTorch, as `peers/train.py` writes it. Plain JSON. */
export interface TrainPeerRow {
  readonly sequences: number
  readonly length: number
  readonly compiled: boolean
  /** Layers are computed again in the backward pass. */
  readonly checkpointing: boolean
  /** Logits are not computed again. */
  readonly keepsLogits: boolean
  readonly milliseconds?: number
  readonly deviation?: number
  readonly samples?: readonly number[]
  /** The first step, compiling included. */
  readonly firstSeconds?: number
  readonly peakBytes?: number
  /** Why there is no figure. */
  readonly skipped?: string
}

/** The result file of `peers/train.py`. Plain JSON. */
export interface TrainPeersResult {
  readonly format: 'phsa-train-peers/1'
  readonly device: string
  readonly versions: Readonly<Record<string, string | number>>
  readonly rows: readonly TrainPeerRow[]
}

/** `benchmarks/results/<device>-train.json`. Plain JSON. */
export interface TrainReport {
  readonly format: 'phsa-train-report/1'
  readonly ours: TrainResult
  /** Absent where there was no PyTorch. */
  readonly peers?: TrainPeersResult
}

/** One run of `bench-train`, ours and the peers'. @throws TypeError where they ran on different GPUs */
export function trainReport(ours: TrainResult, peers: TrainPeersResult | undefined): TrainReport {
  if (peers && peers.device !== deviceName(ours)) {
    throw new TypeError(`ours is of ${deviceName(ours)}, the peers are of ${peers.device}; give a folder of one run.`)
  }
  return { format: 'phsa-train-report/1', ours, ...(peers ? { peers } : {}) }
}
