import { type AttentionSpec, attentionCost, attentionSpec, exactCounts } from '@phsa/core'
import { type AttentionChoice, type DecoderModel, parameterShapes } from '@phsa/model'

/** The model's own properties that decide what a step costs. */
export type FlopsModel = Pick<DecoderModel, 'config' | 'dtype'>

const EMBEDDING = 'model.embed_tokens.weight'

/**
 * Model FLOPs of training steps, a multiply-add being two: what the mathematics of a step asks for, whatever the kernels do besides.
 *
 *     6 P T  +  12 D Hq pairs, the pairs of all layers and sequences
 *
 * - P: weights that multiply every token, those of the projections, the MLPs and the output head (the embedding table too where it is the head; not the
 *   lookup in it, nor norms); T: tokens. Two FLOPs forward, four backward.
 * - pairs: query-key pairs that attention really visits, position by position: all causal ones in dense layers and stages, those of the first tokens, the
 *   local window and topK blocks in sparse ones (spec 1). Q K and P V forward are 4 D a pair and query head; four such products backward are 8 D.
 *
 * Left out, so that the figure is rather too low: the choice of blocks (spec 3, 4), recomputation of layers (`recompute`) and of scores in kernels,
 * distillation on its sampled rows (spec 10), norms, rotary embedding and the optimizer.
 */
export class TrainingFlops {
  readonly #model: FlopsModel
  readonly #weights: number
  /** Of one layer's attention by length, for the parameters in `#known`. */
  readonly #attention = new Map<number, number>()
  #known = ''

  constructor(model: FlopsModel) {
    this.#model = model
    this.#weights = multipliedWeights(model)
  }

  /** @param lengths tokens of each sequence of the step, those of all micro-batches and ranks */
  ofStep(lengths: readonly number[], { policy, phsa }: AttentionChoice): number {
    const { config, dtype } = this.#model
    const configured = policy.configure(phsa)
    const spec = attentionSpec(configured, { ...config, dtype })
    const sparseLayers = policy.name === 'dense' ? 0 : config.layers - new Set(configured.denseLayers).size
    const key = JSON.stringify(spec)
    if (key !== this.#known) this.#attention.clear()
    this.#known = key
    let flops = 0
    for (const length of lengths) {
      flops += 6 * this.#weights * length
      flops += (config.layers - sparseLayers) * 6 * spec.headDim * spec.heads * length * (length + 1)
      if (sparseLayers > 0) flops += sparseLayers * this.#sparseAttention(spec, length)
    }
    return flops
  }

  /** Counting goes over all positions: packed rows bring the same lengths again and again. */
  #sparseAttention(spec: AttentionSpec, length: number): number {
    const known = this.#attention.get(length)
    if (known !== undefined) return known
    const flops = 3 * attentionCost(spec, exactCounts(spec, [length])).attentionFlops
    this.#attention.set(length, flops)
    return flops
  }
}

function multipliedWeights({ config }: FlopsModel): number {
  return [...parameterShapes(config)]
    .filter(([name, shape]) => shape.length === 2 && (config.tieWordEmbeddings || name !== EMBEDDING))
    .reduce((sum, [, [outputs, inputs]]) => sum + outputs * inputs, 0)
}
