import type { RopeTable } from '@phsa/core'
import type { Uploads } from './rewritten-tensors.js'
import { type RopeSettings, ropeAttentionFactor, ropeFrequencies } from './rope-scaling.js'

/**
 * Cosines and sines of positions 0 to positions - 1, computed in float64 so that large positions keep their phase (spec 1): both [P, D / 2].
 * Without scaling, column c turns by position / theta^(2c / D). The attention factor of YaRN is in both tables.
 */
export function ropeAngles(positions: number, settings: RopeSettings): { cos: Float32Array; sin: Float32Array } {
  const frequencies = ropeFrequencies(settings)
  const attentionFactor = ropeAttentionFactor(settings.ropeScaling)
  const half = frequencies.length
  const cos = new Float32Array(positions * half)
  const sin = new Float32Array(positions * half)
  for (const [column, frequency] of frequencies.entries()) {
    for (let position = 0; position < positions; position++) {
      cos[position * half + column] = Math.cos(position * frequency) * attentionFactor
      sin[position * half + column] = Math.sin(position * frequency) * attentionFactor
    }
  }
  return { cos, sin }
}

/** Uploads the rotary table of `positions` positions; the caller disposes both tensors, or a scope does. */
export function uploadRopeTable(uploads: Uploads, positions: number, settings: RopeSettings): RopeTable {
  const { cos, sin } = ropeAngles(positions, settings)
  const shape = [positions, settings.headDim / 2]
  return { cos: uploads.upload(cos, shape), sin: uploads.upload(sin, shape) }
}
