import { assertContract, type DType, type ModelBackend, UnsupportedError } from '@phsa/core'
import { type DecoderConfig, requireFit } from './decoder-config.js'

/**
 * Whether a backend can run a model.
 * @throws InvalidConfigError, UnsupportedError, ContractVersionError
 */
export function requireBackend({
  config,
  backend,
  dtype = 'f32',
}: {
  readonly config: DecoderConfig
  readonly backend: ModelBackend
  readonly dtype?: DType
}): void {
  assertContract(backend)
  requireFit(config)
  if (!backend.limits.dtypes.includes(dtype)) {
    throw new UnsupportedError('dtype', `dtype is ${dtype}; ${backend.name} takes ${backend.limits.dtypes.join(', ')}.`)
  }
}
