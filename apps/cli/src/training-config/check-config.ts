import { stat } from 'node:fs/promises'
import { InvalidConfigError, phsaConfig, SparsitySchedule, type SparsityStage, selectionPolicy } from '@phsa/core'
import { DocumentReader } from '@phsa/trainer'
import { explainError } from '../describe-error.js'
import { isFirstRank } from '../launch/rank-place.js'
import { UsageError } from '../usage-error.js'
import { checkOutput } from './check-output.js'
import type { ConfigProblem, SettingPath } from './config-problem.js'
import { type Contradiction, contradictions } from './contradictions.js'
import { type DataSource, namedSources, planSource, requireOneWeighting } from './data-plan.js'
import type { TrainConfig } from './train-config.js'
import { type ModelPlan, planModel, plannedSteps, type TrainPlan, tokensPerStep } from './train-plan.js'

/** A configuration after its checks. */
export interface CheckedConfig {
  /** Undefined where there are problems. */
  readonly plan: TrainPlan | undefined
  readonly problems: readonly ConfigProblem[]
}

/**
 * Checks all that can be known before a backend, a weight or a text is touched: settings against each other, files, the model and its tokenizer,
 * the output folder and its disk. Finds all problems, not the first.
 * @param wrong settings whose own problems are known: what depends on them is not looked at
 */
export async function checkConfig(config: TrainConfig, wrong: readonly SettingPath[] = []): Promise<CheckedConfig> {
  const checks = new Checks(wrong)
  checks.add(contradictions(config))
  const schedule = await checks.run(['schedule'], () => new SparsitySchedule(config.schedule as readonly SparsityStage[]))
  const isNew = config.run.model === undefined
  if (isNew) await checks.run(['phsa'], () => phsaConfig(config.phsa))
  const planned = await checks.run(['run', isNew ? 'tokenizer' : 'model'], () => planModel(config), [
    ['run', 'shape'],
    ['run', 'tokenizer'],
    ['phsa'],
  ])
  if (planned) await checks.run(['batch', 'tokens'], () => requireLength(config, planned))
  if (planned) await checks.run(['phsa'], () => selectionPolicy(config.policy).configure(planned.phsa), [['policy']])
  const data = await checks.run(['data', 'sources'], () => requireOneWeighting(namedSources(config.data)))
  const sources: DataSource[] = []
  for (const [index, named] of (data ?? []).entries()) {
    const source = await checks.run(['data', 'sources', index], () => planSource(named, planned))
    if (source) sources.push(source)
  }
  const { validation } = config
  if (validation) await checks.run(['validation', 'path'], () => requireDocuments(validation))
  for (const setting of ['path', 'choices'] as const) await checks.run(['evaluation', setting], () => requireFiles(config, setting))
  if (planned) await checks.run(['phsa', 'denseLayers'], () => requireLayers(planned))
  // The first of several processes writes, and may have begun to.
  if (isFirstRank(process.env)) await checks.run(['out'], () => checkOutput(config, planned))
  if (!schedule || !planned || checks.problems.length > 0) return { plan: undefined, problems: checks.problems }
  return {
    plan: { config, schedule, model: planned, sources, steps: plannedSteps(config), tokensPerStep: tokensPerStep(config) },
    problems: [],
  }
}

/** Runs checks and keeps what they throw. */
class Checks {
  readonly problems: ConfigProblem[] = []
  readonly #wrong: readonly SettingPath[]

  constructor(wrong: readonly SettingPath[]) {
    this.#wrong = wrong
  }

  /** Problems that are known, where nothing else is wrong with the settings themselves. */
  add(problems: Iterable<Contradiction>): void {
    for (const { path, beside = path, message } of [...problems]) {
      if (!this.#isWrong(path) && !this.#isWrong(beside)) this.problems.push({ path, message })
    }
  }

  /**
   * @param about the setting that the problem is shown at
   * @param others further ones that the check looks at
   * @returns what it returns; undefined where it threw, or something is wrong with one of the settings already
   */
  async run<T>(about: SettingPath, check: () => T | Promise<T>, others: readonly SettingPath[] = []): Promise<T | undefined> {
    if ([about, ...others].some((path) => this.#isWrong(path))) return undefined
    try {
      return await check()
    } catch (error) {
      const message = explainError(error)
      if (message === undefined) throw error
      this.problems.push({ path: error instanceof InvalidConfigError ? settingOf(error, about) : about, message })
      return undefined
    }
  }

  #isWrong(path: SettingPath): boolean {
    const known = [...this.#wrong, ...this.problems.map((problem) => problem.path)]
    return known.some((other) => isWithin(other, path) || isWithin(path, other))
  }
}

/** In a schedule `stages[1].topK` is schedule[1].topK here, and `localTokens` phsa.localTokens; elsewhere the message says more than the setting. */
function settingOf({ setting }: InvalidConfigError, about: SettingPath): SettingPath {
  if (about.length > 1) return about
  const parts = setting
    .replace(/^stages/, '')
    .split(/[.[\]]+/)
    .filter((part) => part !== '')
  return [...about, ...parts.map((part) => (/^\d+$/.test(part) ? Number(part) : part))]
}

function isWithin(path: SettingPath, around: SettingPath): boolean {
  return around.every((part, index) => path[index] === part)
}

function requireLength({ batch: { tokens } }: TrainConfig, { decoder: { maxPositions } }: ModelPlan): void {
  if (tokens <= maxPositions) return
  throw new UsageError(`batch.tokens is ${tokens}; the model takes at most ${maxPositions} (maxPositions, max_position_embeddings).`)
}

function requireLayers({ decoder: { layers }, phsa: { denseLayers } }: ModelPlan): void {
  const stranger = denseLayers.find((layer) => layer >= layers)
  if (stranger === undefined) return
  throw new UsageError(`phsa.denseLayers has ${stranger}; the model has the layers 0 to ${layers - 1}.`)
}

/** Whether there is text to validate on, and it can be read. */
async function requireDocuments({ path, textField, split }: NonNullable<TrainConfig['validation']>): Promise<void> {
  const reader = await DocumentReader.open([path], { textField, split })
  for await (const _ of reader) return
  throw reader.emptyError()
}

async function requireFiles({ evaluation }: TrainConfig, setting: 'path' | 'choices'): Promise<void> {
  const files = evaluation?.[setting] ?? []
  for (const file of typeof files === 'string' ? [files] : files) {
    if ((await stat(file)).isDirectory()) throw new UsageError(`${file} is a folder; give a file.`)
  }
}
