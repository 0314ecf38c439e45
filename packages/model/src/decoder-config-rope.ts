import { InvalidConfigError, inWords } from '@phsa/core'
import { atLeast, count, positive } from './config-numbers.js'
import { isRecord } from './is-record.js'
import type { RopeScaling, RopeSettings, YarnRopeScaling } from './rope-scaling.js'

type Json = Record<string, unknown>

/**
 * The rotary settings of a parsed config.json: `rope_scaling` (transformers 4) decides where it holds anything, as in transformers, otherwise
 * `rope_parameters` (transformers 5) does.
 * @throws InvalidConfigError naming the key: another kind of scaling, or values that do not fit
 */
export function readRope(json: Json): Pick<RopeSettings, 'ropeTheta' | 'ropeScaling'> {
  const parameters = section(json, 'rope_parameters')
  const scaling = section(json, 'rope_scaling')
  const [rope, name] = Object.keys(scaling).length > 0 ? [scaling, 'rope_scaling'] : [parameters, 'rope_parameters']
  const holder = [rope, json, parameters].find(({ rope_theta }) => rope_theta !== undefined) ?? json
  const ropeTheta = positive(holder, 'rope_theta')
  requireWholeHeads(json, 'partial_rotary_factor')
  requireWholeHeads(rope, `${name}.partial_rotary_factor`)
  const ropeScaling = readRopeScaling(rope, name, json)
  if (ropeScaling !== undefined) requireRopeScaling(ropeScaling, ropeTheta, name)
  return { ropeTheta, ropeScaling }
}

/**
 * The entries of `rope_scaling`, and of `rope_parameters` besides the base.
 * @returns what `readRope` reads as the same scaling
 */
export function ropeScalingJson(scaling: RopeScaling | undefined): Json {
  if (scaling === undefined) return { rope_type: 'default' }
  if (scaling.type === 'linear') return { rope_type: 'linear', factor: scaling.factor }
  const entries = {
    rope_type: 'yarn',
    factor: scaling.factor,
    original_max_position_embeddings: scaling.originalMaxPositions,
    beta_fast: scaling.betaFast,
    beta_slow: scaling.betaSlow,
    truncate: scaling.truncate,
    attention_factor: scaling.attentionFactor,
    mscale: scaling.mscale,
    mscale_all_dim: scaling.mscaleAllDim,
  }
  return Object.fromEntries(Object.entries(entries).filter(([, value]) => value !== undefined))
}

/**
 * Checks a scaling, also one that was put together by hand.
 * @param name how messages name it
 * @throws InvalidConfigError naming the key, in the words of config.json
 */
export function requireRopeScaling(scaling: RopeScaling, ropeTheta: number, name = 'rope_scaling'): void {
  const json = ropeScalingJson(scaling)
  const checked = readRopeScaling(json, name, {})
  if (checked?.type !== 'yarn') return
  const { betaFast = 32, betaSlow = 1 } = checked
  if (betaFast < betaSlow) {
    throw new InvalidConfigError(
      `${name}.beta_fast`,
      `${name}.beta_fast is ${betaFast}; it must be at least beta_slow, which is ${betaSlow}.`,
    )
  }
  if (ropeTheta <= 1) throw new InvalidConfigError('rope_theta', `rope_theta is ${ropeTheta}; with "yarn" it must be above 1.`)
}

function section(json: Json, name: string): Json {
  const value = json[name] ?? {}
  if (!isRecord(value)) throw new InvalidConfigError(name, `${name} is ${inWords(value)}; it must be an object or null.`)
  return value
}

function requireWholeHeads({ partial_rotary_factor: part }: Json, path: string): void {
  if (part === undefined || part === null || part === 1) return
  throw new InvalidConfigError(path, `${path} is ${inWords(part)}; allowed: 1, so that every column of a head is turned.`)
}

/** @param json the whole file, for the lengths outside the section */
function readRopeScaling(rope: Json, name: string, json: Json): RopeScaling | undefined {
  const type = ropeType(rope, name)
  const at = (key: string) => `${name}.${key}`
  if (type === 'default') return undefined
  const factor = atLeast(1, rope, 'factor', at('factor'))
  if (type === 'linear') return { type, factor }
  // As transformers does: the file's own entry comes first, and without any the longest sequence counts as the original one.
  const original = [json, rope].find(({ original_max_position_embeddings: length }) => (length ?? undefined) !== undefined) ?? {
    original_max_position_embeddings: json.max_position_embeddings,
  }
  const optional = (key: string, read: (json: Json, key: string, path: string) => number) =>
    rope[key] === undefined || rope[key] === null ? undefined : read(rope, key, at(key))
  const zeroOrMore = (json: Json, key: string, path: string) => atLeast(0, json, key, path)
  const yarn: YarnRopeScaling = {
    type,
    factor,
    originalMaxPositions: count(original, 'original_max_position_embeddings', at('original_max_position_embeddings')),
    betaFast: optional('beta_fast', positive),
    betaSlow: optional('beta_slow', positive),
    truncate: truncation(rope, at('truncate')),
    attentionFactor: optional('attention_factor', positive),
    mscale: optional('mscale', zeroOrMore),
    mscaleAllDim: optional('mscale_all_dim', zeroOrMore),
  }
  return yarn
}

function ropeType(rope: Json, name: string): 'default' | 'linear' | 'yarn' {
  const { rope_type: type = rope.type, type: oldType = type } = rope
  if (type !== oldType) {
    throw new InvalidConfigError(
      `${name}.rope_type`,
      `${name}.rope_type is ${inWords(type)} and ${name}.type is ${inWords(oldType)}; give one of them, or the same twice.`,
    )
  }
  if (type === 'default' || type === 'linear' || type === 'yarn') return type
  const isBase = ([key, value]: [string, unknown]) => key === 'rope_theta' || key === 'partial_rotary_factor' || value === null
  if (type === undefined && Object.entries(rope).every(isBase)) return 'default'
  const key = rope.rope_type === undefined && rope.type !== undefined ? 'type' : 'rope_type'
  throw new InvalidConfigError(
    `${name}.${key}`,
    `${name}.${key} is ${inWords(type)}; allowed: "default", "linear", "yarn". Other scalings of RoPE are not supported.`,
  )
}

function truncation(rope: Json, path: string): boolean | undefined {
  const value = rope.truncate ?? undefined
  if (value === undefined || typeof value === 'boolean') return value
  throw new InvalidConfigError(path, `${path} is ${inWords(value)}; allowed: true, false.`)
}
