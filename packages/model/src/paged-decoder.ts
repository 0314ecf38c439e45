import {
  attendStep,
  finishLayer,
  layerLambda,
  type PagedBatch,
  type PagedCache,
  projectHeads,
  type Tensor,
  UnsupportedError,
} from '@phsa/core'
import { type AttentionChoice, planLayers } from './attention-choice.js'
import { endInput, headsInput } from './decoder-layer.js'
import type { DecoderModel } from './decoder-model.js'
import { EMBEDDING, FINAL_NORM, layerRoles } from './parameter-shapes.js'

/** Attention of a paged decoder and the size of its caches (spec 6). */
export interface PagedDecoderOptions {
  readonly attention: AttentionChoice
  /** Pages of each layer's cache, shared by all sequences. */
  readonly pages: number
  /** Tokens a page; a multiple of the block size; see `defaultPageTokens`. */
  readonly pageTokens: number
}

/** One step's tokens on the device; the tensors may be rewritten between replays of a captured step. */
export interface PagedStep {
  /** i32 [Tq]; -1 in unused rows. */
  readonly ids: Tensor
  /** i32 [Tq]: position of each new token in its sequence. */
  readonly positions: Tensor
  /** f32 [Tq]: 1 for punctuation. */
  readonly marks: Tensor
  readonly batch: PagedBatch
}

/** What a layer has attended with, inside of its memory scope; see `PagedDecoder.advance`. */
export interface LayerAttention {
  readonly cache: PagedCache
  /** [Tq, Hq, D] */
  readonly q: Tensor
  /** f32 [Tq, Hq], natural logarithm of the softmax sums. */
  readonly lse: Tensor
  readonly batch: PagedBatch
}

/** Looks at each layer as it attends. */
export type AttentionWatch = (attention: LayerAttention) => void

/** Policies whose choice can be made from cached representatives. */
const PAGED_POLICIES: readonly string[] = ['phsa', 'dense', 'mean-pool', 'punctuation-only', 'infllm-v2']

/** Tokens a page: the least multiple of the block size that is 64 or more. */
export function defaultPageTokens(blockSize: number): number {
  return Math.ceil(64 / blockSize) * blockSize
}

/**
 * The paged caches of all layers of a model, and a step over them: prefill chunks and decoded tokens of any number of sequences (spec 6).
 * Which pages a sequence owns is the caller's business. Not created inside of a memory scope; the caller disposes it.
 */
export class PagedDecoder {
  readonly model: DecoderModel
  readonly options: PagedDecoderOptions
  readonly #caches: PagedCache[] = []
  readonly #lambdas: Tensor[] = []

  /** @throws UnsupportedError for a policy that needs more than the cache keeps (random, oracle); OutOfMemoryError */
  constructor(model: DecoderModel, options: PagedDecoderOptions) {
    this.model = model
    this.options = options
    const { attention, pages, pageTokens } = options
    if (!PAGED_POLICIES.includes(attention.policy.name)) {
      throw new UnsupportedError(
        'policy',
        `the ${attention.policy.name} policy does not work on a paged cache; generation takes ${PAGED_POLICIES.join(', ')}.`,
      )
    }
    const { config, backend } = model
    model.reservePositions(Math.min(pages * pageTokens, config.maxPositions))
    const plan = planLayers(attention, config, model.dtype)
    try {
      for (let layer = 0; layer < config.layers; layer++) {
        const lambda = backend.memory.upload(layerLambda(plan.phsa, layer, config.kvHeads), [config.kvHeads])
        this.#lambdas.push(lambda)
        this.#caches.push(backend.paged.createCache({ spec: plan.policy(layer).spec(plan.spec), pages, pageTokens, lambda }))
      }
    } catch (error) {
      this.dispose()
      throw error
    }
  }

  /** Bytes of all caches. */
  get bytes(): number {
    return this.#caches.reduce((total, cache) => total + cache.bytes, 0)
  }

  /** Takes the new tokens into the caches. @param watch called once a layer @returns [Tq, E], before the final norm */
  advance({ ids, positions, marks, batch }: PagedStep, watch?: AttentionWatch): Tensor {
    const { backend, config, parameters } = this.model
    const { memory, ops, paged } = backend
    return memory.scope(() => {
      let x = ops.embedding(parameters.get(EMBEDDING)!, ids)
      const output = watch ? undefined : this.#decodeLayers(x, { positions, marks, batch })
      if (output) return output
      for (const [layer, cache] of this.#caches.entries()) {
        const input = x
        x = memory.scope(() => {
          const context = {
            parameters: layerRoles(parameters, layer),
            epsilon: config.rmsNormEpsilon,
            positions,
            rope: this.model.ropeFor(0),
          }
          const { q, k, v } = projectHeads(backend, headsInput(context, input))
          const { out, lse } = attendStep(paged, cache, { q, k, v, marks }, batch)
          watch?.({ cache, q, lse, batch })
          return finishLayer(backend, endInput(context, input, out))
        })
        input.dispose()
      }
      return x
    })
  }

  /** All layers by the backend's own operation, where it has one for the case. */
  #decodeLayers(x: Tensor, step: Omit<PagedStep, 'ids'>): Tensor | undefined {
    const { backend, config, parameters } = this.model
    if (!backend.decodeLayers) return undefined
    const layers = this.#caches.map((cache, layer) => ({ ...layerRoles(parameters, layer), cache }))
    return backend.decodeLayers({ layers, x, ...step, rope: this.model.ropeFor(0), epsilon: config.rmsNormEpsilon })
  }

  /** Logits [n, V] of some rows of what `advance` returned. @param rows i32 [n]; -1 gives a row of zeros */
  logits(hidden: Tensor, rows: Tensor): Tensor {
    const { backend, config, parameters, head } = this.model
    const { memory, ops } = backend
    return memory.scope(() => {
      const last = ops.embedding(hidden, rows)
      return ops.linear(ops.rmsNorm(last, parameters.get(FINAL_NORM)!, config.rmsNormEpsilon), head)
    })
  }

  /** Frees the caches; the model stays. Disposing twice is allowed. */
  dispose(): void {
    for (const cache of this.#caches) cache.dispose()
    for (const lambda of this.#lambdas) lambda.dispose()
  }
}
