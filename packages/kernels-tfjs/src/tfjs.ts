import type { ModelBackend } from '@phsa/core'
import { type EngineName, openEngine } from './engine.js'
import { TfjsBackend } from './tfjs-backend.js'

/** What `tfjs` takes. */
export interface TfjsOptions {
  /** TensorFlow.js engine; `auto` takes wasm, and cpu where that does not work. */
  readonly engine?: 'auto' | EngineName
}

/**
 * The portable backend, on TensorFlow.js: f32, on the calling thread. `device` says which engine it took, and why no better one.
 * An engine that the user has set with `tf.setBackend` stays current outside of this backend's calls; where none was set, ours is.
 * @throws BackendUnavailableError where the engine cannot work, with the reason
 */
export async function tfjs(options: TfjsOptions = {}): Promise<ModelBackend> {
  return new TfjsBackend(await openEngine(options.engine ?? 'auto'))
}
