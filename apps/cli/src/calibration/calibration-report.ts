import type { PhsaConfig } from '@phsa/core'
import type { Calibration } from '@phsa/trainer'
import type { Machine } from '../machine.js'

/** Everything that `phsa calibrate` found and did. Plain JSON. */
export interface CalibrationReport {
  readonly createdAt: string
  readonly version: string
  readonly machine: Machine
  readonly backend: string
  readonly device: string
  readonly model: string
  /** What the model was loaded with. */
  readonly phsa: PhsaConfig
  readonly files: readonly string[]
  /** Tokens a window. */
  readonly tokens: number
  readonly seed: number
  readonly calibration: Calibration
  /** The configuration that was written; null with --dry-run, where every head keeps what it has, and where the held-out half is against the change. */
  readonly written: string | null
}
