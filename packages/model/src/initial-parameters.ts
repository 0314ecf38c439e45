import { elementCount, RandomStream } from '@phsa/core'
import type { DecoderConfig } from './decoder-config.js'
import { parameterShapes } from './parameter-shapes.js'

/** Standard deviation of freshly drawn weights. */
const INITIAL_DEVIATION = 0.02

/**
 * Fresh weights, one tensor after the other: norms are 1, the rest is drawn from normal(0, 0.02); the projections that add to the residual
 * stream (o, down) are scaled by 1 / sqrt(2 layers), so that its variance does not grow with depth. The same seed gives the same weights.
 */
export function* initialParameters(
  config: DecoderConfig,
  seed: number,
): Generator<readonly [name: string, values: Float32Array, shape: readonly number[]]> {
  const random = new RandomStream(seed)
  for (const [name, shape] of parameterShapes(config)) {
    const values = new Float32Array(elementCount(shape))
    const residual = name.endsWith('o_proj.weight') || name.endsWith('down_proj.weight')
    const deviation = INITIAL_DEVIATION / (residual ? Math.sqrt(2 * config.layers) : 1)
    if (name.includes('norm')) values.fill(1)
    else for (let index = 0; index < values.length; index++) values[index] = deviation * random.normal()
    yield [name, values, shape]
  }
}
