import { elementCount, type Tensor } from '@phsa/core'
import { DecoderModel, type DecoderModelOptions } from './decoder-model.js'
import { initialParameters } from './initial-parameters.js'
import { requireBackend } from './require-backend.js'

/** Numbers that are drawn between two turns of the event loop: about a tenth of a second. */
const PIECE = 2 ** 20

/**
 * The model of `DecoderModel.create`, while the event loop goes on: drawing a billion parameters takes a minute, in which timers, signals and the other ranks of
 * a group must be heard. Not inside of a memory scope.
 * @throws InvalidConfigError, UnsupportedError when the backend cannot run it; the signal's reason
 */
export async function createModel({
  seed,
  signal,
  ...options
}: DecoderModelOptions & { readonly seed: number; readonly signal?: AbortSignal }): Promise<DecoderModel> {
  requireBackend(options)
  const { config, backend, dtype = 'f32' } = options
  const parameters = new Map<string, Tensor>()
  try {
    for (const { name, shape, draw } of initialParameters(config, seed)) {
      const values = new Float32Array(elementCount(shape))
      for (let start = 0; start < values.length; start += PIECE) {
        signal?.throwIfAborted()
        draw(values.subarray(start, start + PIECE))
        await new Promise((resolve) => setTimeout(resolve))
      }
      parameters.set(name, backend.memory.upload(dtype === 'f64' ? Float64Array.from(values) : values, shape, dtype))
    }
    return new DecoderModel(options, parameters)
  } catch (error) {
    for (const tensor of parameters.values()) tensor.dispose()
    throw error
  }
}
