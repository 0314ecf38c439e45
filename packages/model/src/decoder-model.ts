import {
  type CrossEntropyOutput,
  type DType,
  elementCount,
  forLength,
  type ModelBackend,
  type PhsaConfig,
  phsaConfig,
  phsaPolicy,
  type RopeTable,
  type Tensor,
} from '@phsa/core'
import { type AttentionChoice, type LayerPlan, planLayers } from './attention-choice.js'
import { type BatchTensors, disposeBatch, uploadBatch } from './batch-tensors.js'
import type { DecoderConfig } from './decoder-config.js'
import { type LayerActivations, type LayerContext, layerBackward, layerForward } from './decoder-layer.js'
import { meanOf } from './device-mean.js'
import { initialParameters } from './initial-parameters.js'
import { InvalidInputError } from './invalid-input-error.js'
import { type LayerAttention, walkLayers } from './layer-attention.js'
import { EMBEDDING, FINAL_NORM, layerNames, layerRoles, OUTPUT_HEAD, parameterShapes } from './parameter-shapes.js'
import { requireBackend } from './require-backend.js'
import type { Uploads } from './rewritten-tensors.js'
import { uploadRopeTable } from './rope-tables.js'
import { type RowTargets, requireIds, requireRows, requireTokens, type TokenBatch, type TrainingBatch } from './token-batch.js'
import type { DistillationChoice, GradientsFinal, TrainingLosses, TrainingTensors } from './training-tensors.js'

/** What a model runs on and how; the parameters come separately. */
export interface DecoderModelOptions {
  readonly config: DecoderConfig
  readonly backend: ModelBackend
  /** Default: the paper's parameters for the model's longest sequence. */
  readonly phsa?: PhsaConfig
  /** Element type of parameters and activations; default f32. */
  readonly dtype?: DType
  /** Keep only each layer's input and selection and compute the rest again in the backward pass: a third more work, a small part of the memory. */
  readonly recompute?: boolean
}

/** Positions that the rotary table covers from the start; longer batches make their own until `reservePositions` is called. */
const INITIAL_POSITIONS = 4096

/**
 * A Qwen3-class decoder on a backend. It owns its parameter tensors; the backend belongs to whoever made it. All calls queue work and return; only
 * downloading a result waits. Losses and logits belong to the caller, or to the scope around the call.
 */
export class DecoderModel {
  readonly config: DecoderConfig
  readonly backend: ModelBackend
  readonly dtype: DType
  readonly recompute: boolean
  /** By Hugging Face name; shapes as in `parameterShapes`. */
  readonly parameters: ReadonlyMap<string, Tensor>
  #phsa: PhsaConfig
  #rope: RopeTable
  /** Replaced by larger ones; a recorded step may go on reading them. */
  readonly #outgrownRopes: RopeTable[] = []

  /** Takes ownership of the parameters, one for each entry of `parameterShapes(config)`. `create` and `loadModel` are the usual ways here. */
  constructor(options: DecoderModelOptions, parameters: ReadonlyMap<string, Tensor>) {
    requireBackend(options)
    const { config, backend } = options
    this.config = config
    this.backend = backend
    this.#phsa = options.phsa ?? forLength(config.maxPositions)
    this.dtype = options.dtype ?? 'f32'
    this.recompute = options.recompute ?? false
    this.parameters = parameters
    this.#rope = uploadRopeTable(backend.memory, Math.min(config.maxPositions, INITIAL_POSITIONS), config)
  }

  /**
   * A model with fresh weights. Not inside of a memory scope, which would free them. Blocks this thread, a minute for a billion parameters: `createModel` does not.
   * @throws InvalidConfigError, UnsupportedError when the backend cannot run it
   */
  static create({ seed, ...options }: DecoderModelOptions & { readonly seed: number }): DecoderModel {
    requireBackend(options)
    const { memory } = options.backend
    const dtype = options.dtype ?? 'f32'
    const parameters = new Map<string, Tensor>()
    try {
      for (const { name, shape, draw } of initialParameters(options.config, seed)) {
        const values = draw(new Float32Array(elementCount(shape)))
        parameters.set(name, memory.upload(dtype === 'f64' ? Float64Array.from(values) : values, shape, dtype))
      }
      return new DecoderModel(options, parameters)
    } catch (error) {
      for (const tensor of parameters.values()) tensor.dispose()
      throw error
    }
  }

  /** The parameters that it attends with by default, and is saved with. */
  get phsa(): PhsaConfig {
    return this.#phsa
  }

  /**
   * Changes PHSA parameters from the next call on: a lambda that was learned or calibrated, for instance.
   * @throws InvalidConfigError naming the setting
   */
  reconfigure(settings: Partial<PhsaConfig>): void {
    this.#phsa = phsaConfig(settings, this.#phsa)
  }

  /** Number of trained values. */
  get parameterCount(): number {
    return [...this.parameters.values()].reduce((total, { shape }) => total + elementCount(shape), 0)
  }

  /** Output embedding [V, E]: the input's where they are tied. */
  get head(): Tensor {
    return this.#parameter(this.config.tieWordEmbeddings ? EMBEDDING : OUTPUT_HEAD)
  }

  /** Zeros for the gradient of each parameter; f32 under 16-bit parameters, so that small contributions are not lost. The caller disposes them. */
  allocGradients(): Map<string, Tensor> {
    const dtype = this.dtype === 'f64' ? 'f64' : 'f32'
    return new Map([...parameterShapes(this.config)].map(([name, shape]) => [name, this.backend.memory.alloc(shape, dtype)]))
  }

  /**
   * Makes the rotary table cover this many positions for good. Call it once, outside of a memory scope, before working on sequences longer than 4,096;
   * otherwise each call on one uploads a table of its own.
   */
  reservePositions(positions: number): void {
    if (positions > this.config.maxPositions) {
      throw new InvalidInputError(`${positions} positions were asked for; this model takes at most ${this.config.maxPositions}.`)
    }
    if (positions <= this.#rope.cos.shape[0]) return
    const { memory } = this.backend
    const larger = uploadRopeTable(memory, positions, this.config)
    this.#outgrownRopes.push(this.#rope)
    this.#rope = larger
  }

  /** The rotary table for that many positions: the model's, or one that belongs to the caller's scope when it is too short. */
  ropeFor(positions: number, uploads: Uploads = this.backend.memory): RopeTable {
    if (positions <= this.#rope.cos.shape[0]) return this.#rope
    return uploadRopeTable(uploads, positions, this.config)
  }

  /**
   * Logits [T, V] of every token, or [n, V] of some: whole in memory, so for short batches or few rows.
   * @param rows [n]: rows of the batch, in the order wanted
   * @throws InvalidInputError for a row that the batch does not have
   */
  logits(batch: TokenBatch, attention: AttentionChoice = this.#defaultAttention(), rows?: Int32Array): Tensor {
    const { memory, ops } = this.backend
    if (rows) requireRows(rows, batch)
    return memory.scope(() => {
      const hidden = this.#hidden(batch, attention)
      return ops.linear(this.#normalize(rows ? ops.embedding(hidden, memory.upload(rows, [rows.length])) : hidden), this.head)
    })
  }

  /**
   * Negative log-likelihood f32 [n] of targets after rows of the batch, natural logarithm; a row may be asked for several targets.
   * @throws InvalidInputError for a row or a target that there is not
   */
  targetLosses(batch: TokenBatch, { rows, targets }: RowTargets, attention: AttentionChoice = this.#defaultAttention()): Tensor {
    requireRows(rows, batch)
    const { memory, ops } = this.backend
    return memory.scope(() => {
      const hidden = this.#normalize(ops.embedding(this.#hidden(batch, attention), memory.upload(rows, [rows.length])))
      const weighted = this.#uploadTargets({ ids: rows, targets, weights: new Float32Array(targets.length).fill(1) })
      return ops.crossEntropy({ hidden, head: this.head, ...weighted }).tokenLosses
    })
  }

  /** Loss f32 [1] and token losses f32 [T], for evaluation. */
  loss(batch: TrainingBatch, attention: AttentionChoice = this.#defaultAttention()): CrossEntropyOutput {
    const { memory, ops } = this.backend
    return memory.scope(() => {
      const hidden = this.#normalize(this.#hidden(batch, attention))
      return ops.crossEntropy({ hidden, head: this.head, ...this.#uploadTargets(batch) })
    })
  }

  /**
   * One training step's losses; the gradients of their weighted sum are added to `gradients`.
   * @param gradients one a parameter, as from `allocGradients`
   * @param distillation only in layers that select blocks; averaged over them
   */
  lossAndGradients(
    batch: TrainingBatch,
    attention: AttentionChoice,
    gradients: ReadonlyMap<string, Tensor>,
    distillation?: DistillationChoice,
    onFinal?: GradientsFinal,
  ): TrainingLosses {
    this.#requireGradients(gradients)
    return this.backend.memory.scope(() => this.train(this.uploadTraining(batch, attention, distillation), gradients, onFinal))
  }

  /**
   * What a training step reads, for `train`. The tensors belong to the caller, or to the scope around the call.
   * @param uploads makes the tensors: with `RewrittenTensors` a later batch of the same lengths takes the place of an earlier one
   */
  uploadTraining(
    batch: TrainingBatch,
    attention: AttentionChoice,
    distillation?: DistillationChoice,
    uploads: Uploads = this.backend.memory,
  ): TrainingTensors {
    const plan = planLayers(attention, this.config, this.dtype)
    const layers = Math.max(1, plan.sparseLayers.length)
    const share = this.dtype === 'f64' ? Float64Array.of(1 / layers) : Float32Array.of(1 / layers)
    return {
      plan,
      batch: this.#upload(batch, plan, uploads),
      targets: this.#uploadTargets(batch, uploads),
      distillation: distillation && {
        rows: uploads.upload(distillation.rows, [distillation.rows.length]),
        coefficient: distillation.coefficient / layers,
        dLambda: distillation.dLambda,
        share: uploads.upload(share, [1, 1]),
      },
    }
  }

  /** `lossAndGradients` on what `uploadTraining` gave, without any upload: the part that a backend can record, for policies that choose on the device. */
  train(
    { plan, batch, targets, distillation }: TrainingTensors,
    gradients: ReadonlyMap<string, Tensor>,
    onFinal?: GradientsFinal,
  ): TrainingLosses {
    const { memory, ops } = this.backend
    return memory.scope(() => {
      const kept: { input: Tensor; selected: Tensor; activations: LayerActivations | undefined }[] = []
      let x = ops.embedding(this.#parameter(EMBEDDING), batch.ids)
      for (let layer = 0; layer < this.config.layers; layer++) {
        const context = this.#context(layer, plan, batch)
        const input = x
        if (this.recompute) {
          // The selection is small, and choosing again costs time and, where blocks are drawn at random, gives others.
          const { selected, output } = memory.scope(() => {
            const { selected, output } = layerForward(context, input)
            return { selected, output }
          })
          kept.push({ input, selected, activations: undefined })
          x = output
        } else {
          const activations = layerForward(context, input)
          kept.push({ input, selected: activations.selected, activations })
          x = activations.output
        }
      }

      const headName = this.config.tieWordEmbeddings ? EMBEDDING : OUTPUT_HEAD
      const hidden = this.#normalize(x)
      const { loss, tokenLosses, dHidden } = ops.crossEntropyBackward({ hidden, head: this.head, ...targets }, gradients.get(headName)!)
      let dx = ops.rmsNormBackward(dHidden, x, this.#parameter(FINAL_NORM), this.config.rmsNormEpsilon, gradients.get(FINAL_NORM)!)
      onFinal?.(headName === EMBEDDING ? [FINAL_NORM] : [headName, FINAL_NORM])

      const distilled: Tensor[] = []
      for (let layer = this.config.layers - 1; layer >= 0; layer--) {
        const context = this.#context(layer, plan, batch)
        const { input, selected, activations } = kept[layer]
        const dOutput = dx
        const result = memory.scope(() => {
          const saved = activations ?? layerForward(context, input, selected)
          const isDistilled = distillation && plan.sparseLayers.includes(layer)
          const sampledHere = isDistilled ? { ...distillation, dLambda: distillation.dLambda?.[layer] } : undefined
          return layerBackward(context, dOutput, saved, layerRoles(gradients, layer), sampledHere)
        })
        // Freed as the pass walks down: the gradients need the room that the activations leave.
        for (const tensor of [input, selected, dOutput, ...Object.values(activations ?? {})]) tensor.dispose()
        dx = result.dInput
        if (result.distillationLoss) distilled.push(result.distillationLoss)
        onFinal?.(Object.values(layerNames(layer)))
      }
      ops.embeddingBackward(dx, batch.ids, gradients.get(EMBEDDING)!)
      onFinal?.([EMBEDDING])
      return { loss, tokenLosses, distillationLoss: distillation && meanOf(this.backend, distilled, distillation.share) }
    })
  }

  /** What every layer's attention works on. The tensors belong to the caller; call it inside of a memory scope. */
  attentionInputs(batch: TokenBatch, attention: AttentionChoice = this.#defaultAttention()): LayerAttention[] {
    const plan = planLayers(attention, this.config, this.dtype)
    return this.backend.memory.scope(() => [...this.#walk(plan, this.#upload(batch, plan))])
  }

  /** The same layer by layer, each freed when the next is asked for: a long batch needs the memory of one. Not inside of a memory scope. */
  *attentionLayers(batch: TokenBatch, attention: AttentionChoice = this.#defaultAttention()): Generator<LayerAttention> {
    const plan = planLayers(attention, this.config, this.dtype)
    const rope = this.#rope
    const tensors = this.#upload(batch, plan)
    try {
      for (const layer of this.#walk(plan, tensors)) {
        try {
          yield layer
        } finally {
          for (const tensor of [layer.q, layer.k, layer.v, layer.selected]) tensor?.dispose()
        }
      }
    } finally {
      disposeBatch(tensors, rope)
    }
  }

  /** Frees the parameters; the backend stays. Disposing twice is allowed. */
  dispose(): void {
    for (const tensor of this.parameters.values()) tensor.dispose()
    for (const { cos, sin } of [this.#rope, ...this.#outgrownRopes]) {
      cos.dispose()
      sin.dispose()
    }
  }

  #hidden(batch: TokenBatch, attention: AttentionChoice): Tensor {
    const { memory, ops } = this.backend
    const plan = planLayers(attention, this.config, this.dtype)
    const tensors = this.#upload(batch, plan)
    let x = ops.embedding(this.#parameter(EMBEDDING), tensors.ids)
    for (let layer = 0; layer < this.config.layers; layer++) {
      const input = x
      x = memory.scope(() => layerForward(this.#context(layer, plan, tensors), input).output)
      input.dispose()
    }
    return x
  }

  #walk(plan: LayerPlan, tensors: BatchTensors): Generator<LayerAttention> {
    const layers = Array.from({ length: this.config.layers }, (_, layer) => layer)
    const contexts = layers.map((layer) => ({ ...this.#context(layer, plan, tensors), selects: plan.sparseLayers.includes(layer) }))
    return walkLayers(this.backend.ops.embedding(this.#parameter(EMBEDDING), tensors.ids), contexts)
  }

  #normalize(x: Tensor): Tensor {
    return this.backend.ops.rmsNorm(x, this.#parameter(FINAL_NORM), this.config.rmsNormEpsilon)
  }

  #upload(batch: TokenBatch, plan: LayerPlan, uploads: Uploads = this.backend.memory): BatchTensors {
    requireTokens(batch, this.config.vocabSize, this.config.maxPositions)
    return uploadBatch(uploads, batch, plan, this.config, (positions) => this.ropeFor(positions, uploads))
  }

  #uploadTargets(
    { ids, targets, weights }: Omit<TrainingBatch, 'lengths' | 'punctuation'>,
    uploads: Uploads = this.backend.memory,
  ): TrainingTensors['targets'] {
    if (targets.length !== ids.length || weights.length !== ids.length) {
      throw new InvalidInputError(
        `there are ${ids.length} ids, ${targets.length} targets and ${weights.length} weights; give one of each a token.`,
      )
    }
    requireIds(
      targets.filter((_, index) => weights[index] !== 0),
      this.config.vocabSize,
      'targets',
    )
    return { targets: uploads.upload(targets, [targets.length]), weights: uploads.upload(weights, [weights.length]) }
  }

  #context(layer: number, plan: LayerPlan, { positions, rope, layout, weights }: BatchTensors): LayerContext {
    return {
      backend: this.backend,
      parameters: layerRoles(this.parameters, layer),
      epsilon: this.config.rmsNormEpsilon,
      positions,
      rope,
      layout,
      weights: weights.forLayer(layer),
      spec: plan.spec,
      policy: plan.policy(layer),
    }
  }

  #parameter(name: string): Tensor {
    return this.parameters.get(name)!
  }

  #defaultAttention(): AttentionChoice {
    return { policy: phsaPolicy, phsa: this.phsa }
  }

  #requireGradients(gradients: ReadonlyMap<string, Tensor>): void {
    const missing = [...this.parameters.keys()].find((name) => !gradients.has(name))
    if (missing !== undefined) throw new InvalidInputError(`gradients has no tensor for ${missing}; allocGradients makes the whole map.`)
  }
}
