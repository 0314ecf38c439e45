import { inWords, shortened } from '@phsa/core'
import { closestMatch } from 'leven'
import type { z } from 'zod'
import { type ConfigProblem, type SettingPath, settingName } from './config-problem.js'
import { type TrainConfig, trainConfig } from './train-config.js'

/** In the place of data that is missing or wrong: the one section without a default. Nobody looks into it. */
const SOME_DATA = { sources: ['data'] }

/** A configuration as far as it could be understood. */
export interface ParsedConfig {
  /** With all defaults, also in the place of settings that are wrong; undefined for what is no configuration at all. */
  readonly config: TrainConfig | undefined
  readonly problems: readonly ConfigProblem[]
}

/** Reads settings, and finds everything that is wrong with single ones. */
export function parseConfig(value: unknown): ParsedConfig {
  const parsed = trainConfig.safeParse(value ?? {}, { reportInput: true })
  if (parsed.success) return { config: parsed.data, problems: [] }
  // A number that is too large is one issue as an integer and another by its bound, in the same words.
  const found = parsed.error.issues.flatMap((issue) => [...innermost(issue)])
  const issues = [...new Map(found.map((problem) => [problem.message, problem])).values()]
  // What is right is still worth checking: what is wrong gives way to its default.
  const rest = structuredClone(value ?? {})
  for (const { path } of issues) remove(rest, path)
  const isObject = typeof rest === 'object' && rest !== null && !Array.isArray(rest)
  const config = isObject ? (trainConfig.safeParse(rest).data ?? trainConfig.safeParse({ ...rest, data: SOME_DATA }).data) : undefined
  return { config, problems: issues }
}

/** The issue itself as a problem; of a choice between forms those of the form that was meant. */
function* innermost(issue: z.core.$ZodIssue, around: SettingPath = []): Generator<ConfigProblem> {
  const path = [...around, ...issue.path] as SettingPath
  if (issue.code === 'unrecognized_keys') {
    for (const key of issue.keys) yield { path: [...path, key], message: strange(path, key, issue.message) }
    return
  }
  if (issue.code === 'invalid_union') {
    const meant = issue.errors.find((errors) => errors.length > 0 && !errors.some(isOtherForm))
    if (meant) {
      for (const inner of meant) yield* innermost(inner, path)
      return
    }
  }
  yield { path, message: `${settingName(path)} ${complaint(issue)}` }
}

/** Whether a value has another form than a member of a choice at all, rather than a wrong part. */
function isOtherForm({ code, path }: z.core.$ZodIssue): boolean {
  return code === 'invalid_type' && path.length === 0
}

function complaint({ message, input }: z.core.$ZodIssue): string {
  return input === undefined ? `is missing; give ${message}.` : `is ${inWords(input)}; it must be ${message}.`
}

/** @param known names with commas between, as `section` lists them */
function strange(path: SettingPath, key: string, known: string): string {
  const names = known.split(', ')
  const nearest = closestMatch(key, names, { maxDistance: Math.max(2, Math.floor(key.length / 2)) })
  const hint = nearest === undefined ? '' : ` did you mean ${nearest}?`
  return `${shortened(settingName([...path, key]))} is no setting;${hint} ${settingName(path)} takes ${known}.`
}

/** Takes a setting out; of a list the whole list, because the indices of the others would move. */
function remove(root: unknown, path: SettingPath): void {
  const list = path.findIndex((part) => typeof part === 'number')
  const target = list === -1 ? path : path.slice(0, list)
  const parent = target.slice(0, -1).reduce<unknown>((value, part) => entry(value, part), root)
  if (typeof parent !== 'object' || parent === null) return
  const key = target[target.length - 1]
  if (Object.hasOwn(parent, key)) delete (parent as Record<string, unknown>)[key]
  // It is missing: without the section around it, an optional one is complete again.
  else if (target.length > 1) remove(root, target.slice(0, -1))
}

function entry(value: unknown, part: string | number): unknown {
  return typeof value === 'object' && value !== null ? (value as Record<string | number, unknown>)[part] : undefined
}
