import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { isDeepStrictEqual } from 'node:util'
import { inWords } from '@phsa/core'
import { parse } from 'yaml'
import type { ConfigProblem } from './config-problem.js'
import { PATH_SETTINGS } from './setting-paths.js'
import type { TrainConfig } from './train-config.js'

/** The file in `out` that says what a run was started with. */
export const RESOLVED_CONFIG = 'config.yaml'

/** What a checkpoint's numbers mean depends on these. */
const FIXED = ['seed', 'batch.tokens', 'batch.sequences', 'run.shape', 'phsa.blockSize', 'phsa.representatives']

/** Where they lie may change; whether the content is the same is seen by the checkpoint's fingerprint and shapes. */
const UNCOMPARED: readonly string[] = [...PATH_SETTINGS, 'run.start']

/** A setting that the resumed run was started with, and what it is now; undefined where it is not set. */
export interface SettingChange {
  readonly setting: string
  readonly before: unknown
  readonly now: unknown
}

/** What a resumed run has other than the one before it. */
export interface ResumeChanges {
  readonly allowed: readonly SettingChange[]
  /** Changes that no checkpoint survives. */
  readonly problems: readonly ConfigProblem[]
}

/** Compares with what the run in `out` was started with; nothing where that folder does not say. */
export async function resumeChanges(config: TrainConfig): Promise<ResumeChanges> {
  const before = await readResolved(config.out)
  if (before === undefined) return { allowed: [], problems: [] }
  const [old, now] = [new Map(leaves(before)), new Map(leaves(config))]
  const changes = [...new Set([...old.keys(), ...now.keys()])]
    .filter((setting) => !UNCOMPARED.some((other) => isWithin(setting, other)) && !isDeepStrictEqual(old.get(setting), now.get(setting)))
    .map((setting) => ({ setting, before: old.get(setting), now: now.get(setting) }))
  // One that is not set has its default, which may be the other's value: the checkpoint's shapes tell.
  const isFixed = ({ setting, before, now }: SettingChange) =>
    before !== undefined && now !== undefined && FIXED.some((fixed) => isWithin(setting, fixed))
  return {
    allowed: changes.filter((change) => !isFixed(change)),
    problems: changes.filter(isFixed).map((change) => ({
      path: change.setting.split('.'),
      message: `${describeChange(change)}; a checkpoint goes on with the ${change.setting} it was begun with. Set it back, or start a new run with its model: run.model, and another out.`,
    })),
  }
}

/** "optimizer.learningRate was 0.001 and is 0.0005". */
export function describeChange({ setting, before, now }: SettingChange): string {
  const words = (value: unknown) => (value === undefined ? 'not set' : inWords(value))
  return `${setting} was ${words(before)} and is ${words(now)}`
}

async function readResolved(out: string): Promise<unknown> {
  try {
    return parse(await readFile(join(out, RESOLVED_CONFIG), 'utf8'))
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw error
  }
}

function isWithin(setting: string, around: string): boolean {
  return setting === around || setting.startsWith(`${around}.`)
}

function* leaves(value: unknown, path: readonly string[] = []): Generator<[setting: string, value: unknown]> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    if (value !== undefined) yield [path.join('.'), value]
    return
  }
  for (const [key, entry] of Object.entries(value)) yield* leaves(entry, [...path, key])
}
