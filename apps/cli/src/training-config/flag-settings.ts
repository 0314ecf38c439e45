import { resolve } from 'node:path'
import type { SettingPath } from './config-problem.js'
import type { ConfigSource } from './config-source.js'
import { scheduleStages } from './schedule-option.js'
import { isPathSetting } from './setting-paths.js'

/** The setting that each option of `phsa train` stands for, by the option's name as commander has it. */
export const FLAG_SETTINGS = {
  steps: 'run.steps',
  sequenceTokens: 'batch.tokens',
  sequences: 'batch.sequences',
  accumulate: 'batch.accumulate',
  seed: 'seed',
  backend: 'backend',
  dtype: 'dtype',
  gpus: 'gpus',
  learningRate: 'optimizer.learningRate',
  warmupSteps: 'optimizer.warmupSteps',
  decay: 'optimizer.decay',
  decayShare: 'optimizer.decayShare',
  finalShare: 'optimizer.finalShare',
  schedule: 'schedule',
  policy: 'policy',
  blockSize: 'phsa.blockSize',
  initTokens: 'phsa.initTokens',
  localTokens: 'phsa.localTokens',
  lambda: 'phsa.lambda',
  model: 'run.model',
  tokenizer: 'run.tokenizer',
  hiddenSize: 'run.shape.hiddenSize',
  layers: 'run.shape.layers',
  heads: 'run.shape.heads',
  kvHeads: 'run.shape.kvHeads',
  headDim: 'run.shape.headDim',
  validation: 'validation.path',
  validationEvery: 'validation.every',
  validationWindows: 'validation.windows',
  out: 'out',
  checkpointEvery: 'checkpoint.every',
  tensorboard: 'watching.tensorboard',
  peakTflops: 'watching.peakTeraflops',
  resume: 'run.start',
  resumeOrStart: 'run.start',
  orOlder: 'run.orOlder',
} as const satisfies Readonly<Record<string, string>>

/** The options that were typed, without defaults. */
export type TrainFlags = Readonly<Partial<Record<keyof typeof FLAG_SETTINGS, unknown>>>

/** Whether an option stands for a setting. */
export function isSettingFlag(name: string): name is keyof typeof FLAG_SETTINGS {
  return Object.hasOwn(FLAG_SETTINGS, name)
}

/** The option that sets a setting: "--steps" for run.steps; undefined where only a file can. */
export function optionFor(path: SettingPath): string | undefined {
  const setting = path.join('.')
  const flag = Object.keys(FLAG_SETTINGS).find((name) => isSettingFlag(name) && FLAG_SETTINGS[name] === setting)
  return flag === undefined ? undefined : optionName(flag)
}

/** What a setting of the file gives way to: an option that says the same in another way. */
const REPLACES: Readonly<Record<string, readonly string[]>> = {
  'run.steps': ['run.tokens'],
  'run.model': ['run.shape', 'run.tokenizer'],
}

/**
 * Settings with the options of the command line in their place.
 * @param folder that relative paths among the options start from
 * @throws UsageError for a schedule of another form
 */
export function withFlags(source: ConfigSource, flags: TrainFlags, folder: string): ConfigSource {
  const value = structuredClone(source.value ?? {})
  const typed = new Map<string, string>()
  const given = Object.entries(flags).map(([flag, content]) => {
    const setting = FLAG_SETTINGS[flag as keyof typeof FLAG_SETTINGS]
    typed.set(setting, optionName(flag))
    return { setting, content: flagValue(flag, setting, content, folder) }
  })
  for (const { setting } of given)
    for (const other of REPLACES[setting] ?? []) if (!typed.has(other)) put(value, other.split('.'), undefined)
  for (const { setting, content } of given) put(value, setting.split('.'), content)
  return {
    value,
    base: source.base,
    where(path) {
      const named = path.filter((part) => typeof part === 'string')
      for (let length = named.length; length > 0; length--) {
        const flag = typed.get(named.slice(0, length).join('.'))
        if (flag !== undefined) return flag
      }
      return source.where(path)
    },
  }
}

function flagValue(flag: string, setting: string, content: unknown, folder: string): unknown {
  if (flag === 'resume') return 'resume'
  if (flag === 'resumeOrStart') return 'resume-or-start'
  if (typeof content !== 'string') return content
  if (flag === 'schedule') return scheduleStages(content)
  // An empty path would become the folder: the parser refuses it as it is.
  return isPathSetting(setting) && content !== '' ? resolve(folder, content) : content
}

/** sequenceTokens -> "--sequence-tokens". */
function optionName(flag: string): string {
  return `--${flag.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`
}

/** Sets a value in nested objects, which it makes; undefined takes it out. What is no object on the way is left for the parser to refuse. */
function put(root: unknown, path: SettingPath, content: unknown): void {
  if (typeof root !== 'object' || root === null || Array.isArray(root)) return
  const [key, ...rest] = path
  const parent = root as Record<string, unknown>
  if (content === undefined && !Object.hasOwn(parent, key)) return
  if (rest.length > 0) {
    parent[key] ??= {}
    put(parent[key], rest, content)
  } else if (content === undefined) {
    delete parent[key]
  } else {
    parent[key] = content
  }
}
