import { InvalidConfigError } from './errors/invalid-config-error.js'
import { MAX_TOP_K } from './phsa-config.js'

/** How long a stage lasts: a share of the run, or a number of tokens. All stages of a schedule use the same. */
export type StageExtent = { readonly share: number; readonly tokens?: undefined } | { readonly tokens: number; readonly share?: undefined }

/** A stretch of training, dense or with a topK that is constant or falls linearly (spec 7). Plain JSON. */
export type SparsityStage = StageExtent & {
  /** Whether the block distillation loss is added; default false (spec 10). */
  readonly distillation?: boolean
} & ({ readonly kind: 'dense' } | { readonly kind: 'sparse'; readonly topK: number | { readonly from: number; readonly to: number } })

/** Tokens of a stage in a run of `total` tokens; a share may give a fraction. */
export function stageExtent(stage: SparsityStage, total: number): number {
  return stage.tokens ?? (stage.share ?? 0) * total
}

/**
 * Checks stages that may come from JSON.
 * @throws InvalidConfigError naming the stage and the setting, for instance `stages[1].topK`
 */
export function parseStages(stages: unknown): readonly SparsityStage[] {
  if (!Array.isArray(stages) || stages.length === 0) {
    throw new InvalidConfigError('stages', `stages is ${JSON.stringify(stages)}; give a list of at least one stage.`)
  }
  const parsed = stages.map((stage, index) => parseStage(stage, `stages[${index}]`))
  const shares = parsed.filter((stage) => stage.share !== undefined)
  if (shares.length !== 0 && shares.length !== parsed.length) {
    throw new InvalidConfigError('stages', 'some stages have a share and others tokens; give all of them the same.')
  }
  const sum = shares.reduce((total, stage) => total + (stage.share ?? 0), 0)
  if (shares.length > 0 && Math.abs(sum - 1) > 1e-6) {
    throw new InvalidConfigError('share', `the shares of the stages sum to ${sum}; they must sum to 1.`)
  }
  return parsed
}

function parseStage(stage: unknown, path: string): SparsityStage {
  if (typeof stage !== 'object' || stage === null || Array.isArray(stage)) {
    throw new InvalidConfigError(path, `${path} is ${JSON.stringify(stage)}; a stage is an object with kind, share or tokens, and topK.`)
  }
  const { kind, share, tokens, topK, distillation, ...unknown } = stage as Record<string, unknown>
  const [stranger] = Object.keys(unknown)
  if (stranger !== undefined)
    fail(path, stranger, unknown[stranger], 'no setting of a stage; there are kind, share, tokens, topK and distillation')
  if (kind !== 'dense' && kind !== 'sparse') fail(path, 'kind', kind, 'not dense or sparse')
  if (distillation !== undefined && typeof distillation !== 'boolean') fail(path, 'distillation', distillation, 'not true or false')
  const common = { ...parseExtent(path, share, tokens), ...(distillation === undefined ? {} : { distillation }) }
  if (kind === 'sparse') return { kind, ...common, topK: parseTopK(path, topK) }
  if (topK !== undefined) fail(path, 'topK', topK, 'not for a dense stage, which chooses no blocks; leave it out')
  return { kind, ...common }
}

function parseExtent(path: string, share: unknown, tokens: unknown): StageExtent {
  if ((share === undefined) === (tokens === undefined)) {
    throw new InvalidConfigError(
      `${path}.share`,
      `${path} has ${share === undefined ? 'neither share nor tokens' : 'both share and tokens'}; give one.`,
    )
  }
  if (tokens === undefined) {
    if (typeof share !== 'number' || !(share > 0 && share <= 1)) fail(path, 'share', share, 'not a number above 0, up to 1')
    return { share }
  }
  if (!isIntegerWithin(tokens, 1, Number.MAX_SAFE_INTEGER)) fail(path, 'tokens', tokens, 'not a positive whole number')
  return { tokens }
}

function parseTopK(path: string, topK: unknown): number | { from: number; to: number } {
  if (isIntegerWithin(topK, 0, MAX_TOP_K)) return topK
  const allowed = `not an integer from 0 to ${MAX_TOP_K}, or { from, to } with from >= to`
  if (typeof topK !== 'object' || topK === null) return fail(path, 'topK', topK, allowed)
  const { from, to } = topK as Record<string, unknown>
  if (!isIntegerWithin(from, 0, MAX_TOP_K) || !isIntegerWithin(to, 0, from)) return fail(path, 'topK', topK, allowed)
  return { from, to }
}

function isIntegerWithin(value: unknown, least: number, most: number): value is number {
  return typeof value === 'number' && Number.isInteger(value) && value >= least && value <= most
}

function fail(path: string, setting: string, value: unknown, complaint: string): never {
  throw new InvalidConfigError(`${path}.${setting}`, `${path}.${setting} is ${JSON.stringify(value) ?? 'missing'}: ${complaint}.`)
}
