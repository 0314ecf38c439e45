import { InvalidConfigError, type PhsaConfig } from '@phsa/core'
import type { serialization } from '@tensorflow/tfjs-core'
import { oneLayerConfig, type PhsaAttentionSettings } from '../operation/attention-settings.js'

/** What `PhsaAttention` takes besides what every Keras layer does. */
export interface LayerSettingsArgs {
  /** Query heads. */
  readonly heads: number
  /** Key/value heads, a divisor of `heads`: fewer make grouped-query attention. Default: `heads`. */
  readonly kvHeads?: number
  /** Default: the input's last extent divided by `heads`. */
  readonly headDim?: number
  /** Whether the four projections add a bias. Default: true. */
  readonly useBias?: boolean
  /** Whether each head of queries and keys is divided by its root mean square and scaled by a learned weight. Default: false. */
  readonly qkNorm?: boolean
  /** Added to the mean square. Default: 1e-6. */
  readonly qkNormEpsilon?: number
  /** Base of rotary positions, for instance 10000. Default: none, attention without positions. */
  readonly ropeTheta?: number
  /** PHSA settings (spec 1). Default: those of 4k. */
  readonly phsa?: PhsaAttentionSettings
}

/** The same with every default filled in. */
export interface LayerSettings extends Required<Omit<LayerSettingsArgs, 'headDim' | 'ropeTheta' | 'phsa'>> {
  /** undefined where the input says it. */
  readonly headDim: number | undefined
  readonly ropeTheta: number | undefined
  readonly phsa: PhsaConfig
}

/** Fills and checks the settings of a layer; null counts as missing, as in saved models. @throws InvalidConfigError */
export function layerSettings(args: LayerSettingsArgs): LayerSettings {
  requirePositiveInteger('heads', args.heads)
  const heads = args.heads
  const kvHeads = args.kvHeads ?? heads
  requirePositiveInteger('kvHeads', kvHeads)
  if (heads % kvHeads !== 0) throw new InvalidConfigError('kvHeads', `kvHeads is ${kvHeads}; it must divide heads, which is ${heads}.`)
  const ropeTheta = args.ropeTheta ?? undefined
  if (ropeTheta !== undefined && !(ropeTheta > 0)) {
    throw new InvalidConfigError(
      'ropeTheta',
      `ropeTheta is ${ropeTheta}; give a number above 0, for instance 10000, or none for no positions.`,
    )
  }
  const headDim = args.headDim ?? undefined
  if (headDim !== undefined) requireHeadDim(headDim, ropeTheta)
  const qkNormEpsilon = args.qkNormEpsilon ?? 1e-6
  if (!(qkNormEpsilon > 0)) {
    throw new InvalidConfigError('qkNormEpsilon', `qkNormEpsilon is ${qkNormEpsilon}; give a small number above 0, for instance 1e-6.`)
  }
  const phsa = oneLayerConfig(args.phsa ?? {}, kvHeads)
  return { heads, kvHeads, headDim, useBias: args.useBias ?? true, qkNorm: args.qkNorm ?? false, qkNormEpsilon, ropeTheta, phsa }
}

/** The head dimension for an input. @param hidden its last extent. @throws InvalidConfigError where that does not divide */
export function headDimFor({ heads, headDim, ropeTheta }: LayerSettings, hidden: number): number {
  if (headDim !== undefined) return headDim
  if (hidden % heads !== 0) {
    throw new InvalidConfigError('headDim', `the input has ${hidden} channels, which ${heads} heads do not divide; set headDim.`)
  }
  requireHeadDim(hidden / heads, ropeTheta)
  return hidden / heads
}

/** The settings as `getConfig` writes them: plain JSON, null for what is missing. */
export function settingsConfig({ headDim, ropeTheta, phsa, ...settings }: LayerSettings): serialization.ConfigDict {
  return { ...settings, headDim: headDim ?? null, ropeTheta: ropeTheta ?? null, phsa: JSON.parse(JSON.stringify(phsa)) }
}

function requireHeadDim(headDim: number, ropeTheta: number | undefined): void {
  requirePositiveInteger('headDim', headDim)
  if (ropeTheta === undefined || headDim % 2 === 0) return
  throw new InvalidConfigError(
    'headDim',
    `headDim is ${headDim}; with ropeTheta it must be even, because a position turns one half by the other.`,
  )
}

function requirePositiveInteger(setting: string, value: number): void {
  if (Number.isInteger(value) && value > 0) return
  throw new InvalidConfigError(setting, `${setting} is ${JSON.stringify(value)}; it must be a positive integer.`)
}
