import { RandomStream } from '@phsa/core'
import type { DecoderConfig } from './decoder-config.js'
import { parameterShapes } from './parameter-shapes.js'

/** Standard deviation of freshly drawn weights. */
const INITIAL_DEVIATION = 0.02

/** A tensor of fresh weights. */
export interface InitialParameter {
  readonly name: string
  readonly shape: readonly number[]
  /** Fills an array with its next values, and gives it back: those of the whole tensor come in one call or, in order, in several. */
  draw(values: Float32Array): Float32Array
}

/**
 * Fresh weights, one tensor after the other, each to be drawn before the next: norms are 1, the rest is drawn from normal(0, 0.02); the projections that add
 * to the residual stream (o, down) are scaled by 1 / sqrt(2 layers), so that its variance does not grow with depth. The same seed gives the same weights.
 */
export function* initialParameters(config: DecoderConfig, seed: number): Generator<InitialParameter> {
  const random = new RandomStream(seed)
  for (const [name, shape] of parameterShapes(config)) {
    const residual = name.endsWith('o_proj.weight') || name.endsWith('down_proj.weight')
    const deviation = INITIAL_DEVIATION / (residual ? Math.sqrt(2 * config.layers) : 1)
    const draw = (values: Float32Array) => {
      if (name.includes('norm')) return values.fill(1)
      for (let index = 0; index < values.length; index++) values[index] = deviation * random.normal()
      return values
    }
    yield { name, shape, draw }
  }
}
