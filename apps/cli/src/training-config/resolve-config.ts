import { join, resolve } from 'node:path'
import { isPhsaError } from '@phsa/core'
import { isTokenizedCorpus } from '@phsa/trainer'
import { worldSize } from '../launch/rank-place.js'
import { UsageError } from '../usage-error.js'
import { checkConfig } from './check-config.js'
import { ConfigError } from './config-problem.js'
import { type ConfigSource, readConfigFile } from './config-source.js'
import { optionFor, type TrainFlags, withFlags } from './flag-settings.js'
import { parseConfig } from './parse-config.js'
import { describeChange, resumeChanges } from './resume-changes.js'
import { withAbsolutePaths } from './setting-paths.js'
import { DEFAULT_SHAPE, type TrainConfig } from './train-config.js'
import { plannedSteps, type TrainPlan } from './train-plan.js'

/** A run that may start, and what is worth saying before it does. */
export interface ResolvedRun {
  readonly plan: TrainPlan
  readonly notes: readonly string[]
}

/**
 * The one way from what was typed to a run: a configuration file, or texts with defaults for everything else; options of the command line come before
 * both. Everything is checked, and nothing is made.
 * @param probe opens and closes the backend of a configuration: its reasons are listed beside the other problems
 * @throws ConfigError with every problem; UsageError for files that do not go together
 */
export async function resolveRun(
  files: readonly string[],
  flags: TrainFlags,
  probe: (config: TrainConfig) => Promise<void>,
): Promise<ResolvedRun> {
  const source = withFlags(await sourceOf(files), flags, process.cwd())
  const parsed = parseConfig(source.value)
  if (!parsed.config) throw new ConfigError(parsed.problems, source.where)
  const config = withResolvedDefaults(parsed.config, source.base)
  const wrong = parsed.problems.map(({ path }) => path)
  const checked = await checkConfig(config, wrong)
  const changes = config.run.start === 'new' || wrong.length > 0 ? { allowed: [], problems: [] } : await resumeChanges(config)
  const problems = [...parsed.problems, ...checked.problems, ...changes.problems]
  if (problems.length === 0 && checked.plan) {
    return { plan: checked.plan, notes: changes.allowed.map((change) => `changed since the run began: ${describeChange(change)}`) }
  }
  try {
    await probe(config)
  } catch (error) {
    if (!isPhsaError(error)) throw error
    problems.push({ path: ['backend'], message: error.message })
  }
  throw new ConfigError(problems, source.where)
}

const CONFIG_FILE = /\.(?:ya?ml|json)$/i

async function sourceOf(files: readonly string[]): Promise<ConfigSource> {
  const config = files.find((file) => CONFIG_FILE.test(file))
  if (config === undefined) {
    const base = process.cwd()
    const paths = files.map((file) => resolve(base, file))
    // Texts are one source; a folder of tokens is one by itself.
    const isAnyTokenized = (await Promise.all(paths.map(isTokenizedCorpus))).includes(true)
    const sources = isAnyTokenized ? paths : [{ path: paths, name: 'text' }]
    return { value: { data: { sources } }, base, where: optionFor }
  }
  if (files.length > 1) {
    throw new UsageError(`${config} is a configuration, which names its data itself; give it alone, or texts without a configuration.`)
  }
  const source = await readConfigFile(config)
  return { ...source, value: withAbsolutePaths(source.value, source.base) }
}

/** Defaults that depend on other settings. */
function withResolvedDefaults(config: TrainConfig, base: string): TrainConfig {
  const { model, shape = DEFAULT_SHAPE, tokens } = config.run
  const out = resolve(base, config.out)
  const gpus = config.gpus ?? worldSize(process.env)
  return {
    ...config,
    gpus,
    out,
    data: { ...config.data, tokens: config.data.tokens ?? join(out, 'tokens') },
    run: {
      ...config.run,
      ...(model === undefined ? { shape } : {}),
      ...(tokens === undefined ? { steps: plannedSteps({ ...config, gpus }) } : {}),
    },
  }
}
