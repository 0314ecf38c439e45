import { ShapeError } from '@phsa/core'
import * as tf from '@tensorflow/tfjs-core'
import { initializers, type LayerVariable, layers, type Shape } from '@tensorflow/tfjs-layers'
import { phsaAttention } from '../operation/phsa-attention.js'
import { type WeightArgs, type WeightObjects, weightConfig, weightObjects } from './keras-objects.js'
import { headDimFor, type LayerSettings, type LayerSettingsArgs, layerSettings, settingsConfig } from './layer-settings.js'
import { maskLengths } from './mask-lengths.js'
import { type RotaryTable, rotaryTable, rotate } from './rotary-positions.js'

type LayerArgs = NonNullable<ConstructorParameters<typeof layers.Layer>[0]>
type Kwargs = Parameters<layers.Layer['call']>[1]

/** Arguments of `PhsaAttention`. */
export interface PhsaAttentionArgs extends LayerArgs, LayerSettingsArgs, WeightArgs {}

/** A matrix product and what is added to it; a bias only where the layer has biases. */
interface Projection {
  readonly kernel: LayerVariable
  readonly bias: LayerVariable | undefined
}

/** All that `build` makes. */
interface Built {
  readonly headDim: number
  readonly query: Projection
  readonly key: Projection
  readonly value: Projection
  readonly output: Projection
  /** [headDim] each; only with `qkNorm`. */
  readonly norms: { readonly query: LayerVariable; readonly key: LayerVariable } | undefined
}

/**
 * Causal self-attention as a Keras layer: projections to queries, keys and values, by option a norm of queries and keys and rotary
 * positions, PHSA attention (spec 3 to 5), and a projection back.
 *
 * Input [batch, length, hidden], or that and a mask [batch, length] of which tokens are punctuation; output [batch, length, hidden]. A Keras
 * mask is taken as padding at the end of rows. Weights: `query_kernel` [hidden, heads * headDim], `key_kernel` and `value_kernel`
 * [hidden, kvHeads * headDim], `output_kernel` [heads * headDim, hidden], a bias of each, `query_norm` and `key_norm` [headDim].
 *
 * To load a model that has it, register it first: `tf.serialization.registerClass(PhsaAttention)`.
 *
 * @throws InvalidConfigError for a setting that is not allowed; ShapeError for an input or mask that does not fit
 */
export class PhsaAttention extends layers.Layer {
  static readonly className = 'PhsaAttention'
  override supportsMasking = true
  readonly #settings: LayerSettings
  readonly #objects: WeightObjects
  #built: Built | undefined
  #positions: RotaryTable = { length: 0, cos: new Float32Array(0), sin: new Float32Array(0) }

  constructor(args: PhsaAttentionArgs) {
    super(args)
    this.#settings = layerSettings(args)
    this.#objects = weightObjects(args)
  }

  override build(inputShape: Shape | Shape[]): void {
    const { heads, kvHeads, qkNorm } = this.#settings
    const hidden = shapesOf(inputShape)[0][2]
    if (hidden === null) throw new ShapeError('the last extent of the input is not known; PhsaAttention needs it for its weights.')
    const headDim = headDimFor(this.#settings, hidden)
    const norm = (name: string) => this.addWeight(name, [headDim], 'float32', initializers.ones())
    this.#built = {
      headDim,
      query: this.#projection('query', hidden, heads * headDim),
      key: this.#projection('key', hidden, kvHeads * headDim),
      value: this.#projection('value', hidden, kvHeads * headDim),
      output: this.#projection('output', heads * headDim, hidden),
      norms: qkNorm ? { query: norm('query_norm'), key: norm('key_norm') } : undefined,
    }
    this.built = true
  }

  override call(inputs: tf.Tensor | tf.Tensor[], kwargs: Kwargs): tf.Tensor {
    return tf.tidy(() => {
      this.invokeCallHook(inputs, kwargs)
      const [x, punctuation] = Array.isArray(inputs) ? inputs : [inputs]
      const [batch, length, hidden] = shapesOf(x.shape)[0] as number[]
      const { headDim, query, key, value, output, norms } = this.#built as Built
      const { heads, kvHeads, phsa } = this.#settings
      const rows = tf.reshape<tf.Rank.R2>(x, [batch * length, hidden])
      const project = (projection: Projection, count: number) =>
        tf.reshape<tf.Rank.R4>(projected(rows, projection), [batch, length, count, headDim])
      const q = this.#positioned(project(query, heads), norms?.query)
      const k = this.#positioned(project(key, kvHeads), norms?.key)
      const mask = kwargs.mask as tf.Tensor | (tf.Tensor | null)[] | null | undefined
      const padding = Array.isArray(mask) ? mask[0] : mask
      const lengths = padding ? maskLengths(padding, batch, length) : undefined
      const o = phsaAttention(q, k, project(value, kvHeads), { ...phsa, punctuation, lengths })
      return tf.reshape(projected(tf.reshape<tf.Rank.R2>(o, [batch * length, heads * headDim]), output), [batch, length, hidden])
    })
  }

  override computeOutputShape(inputShape: Shape | Shape[]): Shape {
    return shapesOf(inputShape)[0]
  }

  /** The mask of the first input: what is padding before the layer is so after it. */
  override computeMask(_inputs: tf.Tensor | tf.Tensor[], mask?: tf.Tensor | tf.Tensor[]): tf.Tensor {
    return (Array.isArray(mask) ? mask[0] : mask) as tf.Tensor
  }

  override getConfig(): tf.serialization.ConfigDict {
    return { ...super.getConfig(), ...settingsConfig(this.#settings), ...weightConfig(this.#objects) }
  }

  #projection(name: string, inputs: number, outputs: number): Projection {
    const { kernelInitializer, kernelRegularizer, kernelConstraint, biasInitializer, biasRegularizer, biasConstraint } = this.#objects
    const kernel = this.addWeight(
      `${name}_kernel`,
      [inputs, outputs],
      'float32',
      kernelInitializer,
      kernelRegularizer,
      true,
      kernelConstraint,
    )
    if (!this.#settings.useBias) return { kernel, bias: undefined }
    return { kernel, bias: this.addWeight(`${name}_bias`, [outputs], 'float32', biasInitializer, biasRegularizer, true, biasConstraint) }
  }

  /** Norm and rotary position, each where the layer has it. @param x [batch, length, heads or kvHeads, headDim] */
  #positioned(x: tf.Tensor4D, norm: LayerVariable | undefined): tf.Tensor4D {
    const { qkNormEpsilon, ropeTheta } = this.#settings
    const normed = norm ? normalised(x, norm, qkNormEpsilon) : x
    if (ropeTheta === undefined) return normed
    const [, length, , headDim] = x.shape
    if (length > this.#positions.length) this.#positions = rotaryTable(length, headDim, ropeTheta)
    return rotate(normed, this.#positions)
  }
}

/** @param x [rows, inputs] */
function projected(x: tf.Tensor2D, { kernel, bias }: Projection): tf.Tensor2D {
  const product = tf.matMul<tf.Tensor2D>(x, kernel.read())
  return bias ? tf.add(product, bias.read()) : product
}

/** x / sqrt(mean(x^2) + epsilon) * weight, over the last axis. */
function normalised(x: tf.Tensor4D, weight: LayerVariable, epsilon: number): tf.Tensor4D {
  const meanSquare = tf.mean(tf.square(x), -1, true)
  return tf.mul(tf.mul(x, tf.rsqrt(tf.add(meanSquare, epsilon))), weight.read())
}

/** The shape of each input. @throws ShapeError unless they are those of x, or of x and punctuation */
function shapesOf(given: Shape | Shape[]): Shape[] {
  const shapes = (Array.isArray(given[0]) ? given : [given]) as Shape[]
  if (shapes.length <= 2 && shapes[0].length === 3 && (shapes[1] ?? [0, 0]).length === 2) return shapes
  throw new ShapeError(
    `the input has shape ${JSON.stringify(given)}; PhsaAttention takes [batch, length, hidden], or that and punctuation [batch, length].`,
  )
}
