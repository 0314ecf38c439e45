import { densePolicy, type Tensor } from '@phsa/core'
import { type DecoderModel, tokenBatch } from '@phsa/model'
import { nextTurn } from './next-turn.js'

/** Queries and keys of one layer for every token of a document, norm and rotation applied: [T, Hq, D] and [T, Hkv, D]. */
export interface LayerTensors {
  readonly q: Tensor
  readonly k: Tensor
}

/**
 * What every layer of a model that attends densely works on for one document. All methods are compared on these: what they choose has no
 * effect on what later layers see.
 */
export class DocumentAttention {
  readonly ids: Int32Array
  /** One byte a token. */
  readonly punctuation: Uint8Array
  readonly layers: readonly LayerTensors[]

  private constructor(ids: Int32Array, punctuation: Uint8Array, layers: readonly LayerTensors[]) {
    this.ids = ids
    this.punctuation = punctuation
    this.layers = layers
  }

  /** Runs the model over the document. @param onLayer called as each layer is done, with the number of them */
  static async compute(
    model: DecoderModel,
    ids: Int32Array,
    punctuation: Uint8Array,
    onLayer: (done: number) => void,
  ): Promise<DocumentAttention> {
    const { memory, ops } = model.backend
    const layers: LayerTensors[] = []
    try {
      for (const { q, k } of model.attentionLayers({ ...tokenBatch([ids]), punctuation }, { policy: densePolicy, phsa: model.phsa })) {
        // Views: they keep the memory when the walk frees its own.
        layers.push({ q: memory.reshape(q, q.shape), k: memory.reshape(k, k.shape) })
        // One row is read so that the layer is computed, not queued, when it is reported.
        const row = memory.scope(() =>
          ops.embedding(memory.reshape(k, [ids.length, k.shape[1] * k.shape[2]]), memory.upload(Int32Array.of(0), [1])),
        )
        await memory.download(row)
        row.dispose()
        onLayer(layers.length)
        await nextTurn()
      }
    } catch (error) {
      disposeLayers(layers)
      throw error
    }
    return new DocumentAttention(ids, punctuation, layers)
  }

  dispose(): void {
    disposeLayers(this.layers)
  }
}

function disposeLayers(layers: readonly LayerTensors[]): void {
  for (const { q, k } of layers) {
    q.dispose()
    k.dispose()
  }
}
