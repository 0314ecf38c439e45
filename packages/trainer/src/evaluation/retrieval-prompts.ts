import { InvalidConfigError, needlePrompt, RandomStream } from '@phsa/core'
import type { DecoderModel } from '@phsa/model'
import { requireInteger, requireRange } from '../number-settings.js'
import type { NeedleTask, NeedleTrial } from './needle-task.js'

/** What decides the prompts of a retrieval evaluation. */
export interface RetrievalPromptOptions {
  readonly model: DecoderModel
  /** What is hidden and asked for. */
  readonly task: NeedleTask
  /** Token ids of filler text; at least what the longest prompt needs. */
  readonly haystack: Int32Array
  /** Tokens of the prompts, the question included. */
  readonly lengths: readonly number[]
  /** Places of the needle in the filler, 0 (first) to 1 (just before the question); default 0, 0.25, 0.5, 0.75 and 1. */
  readonly depths?: readonly number[]
  /** Prompts of each length and depth; default 10. */
  readonly trials?: number
  /** Decides filler, keys and answers, and the blocks of policy `random`; default 0. */
  readonly seed?: number
}

/** One prompt before its filler is laid around it. */
export interface PlannedPrompt extends NeedleTrial {
  readonly length: number
  readonly depth: number
  readonly seed: number
}

/**
 * All prompts of an evaluation, checked: what cannot be built or does not fit the model is found before the first forward. A prompt depends on
 * its own length, depth and number and on the seed, not on what else is measured.
 * @throws InvalidConfigError naming the setting
 */
export function planPrompts(options: RetrievalPromptOptions): PlannedPrompt[] {
  const { model, task, haystack, trials = 10, seed = 0 } = options
  const [lengths, depths] = [[...new Set(options.lengths)], [...new Set(options.depths ?? [0, 0.25, 0.5, 0.75, 1])]]
  requireInteger('trials', trials, 1)
  requireInteger('seed', seed, 0)
  for (const [setting, { length }] of Object.entries({ lengths, depths })) {
    if (length === 0) throw new InvalidConfigError(setting, `${setting} is empty; give at least one.`)
  }
  for (const length of lengths) requireInteger('lengths', length, 1)
  for (const depth of depths) requireRange('depths', depth, 0, 1)
  requireIds('haystack', 'the haystack', haystack, model)
  const planned: PlannedPrompt[] = []
  for (const length of lengths) {
    for (const depth of depths) {
      for (let trial = 0; trial < trials; trial++) {
        const random = trialStream(seed, [length, Math.round(depth * 2 ** 20), trial])
        const prompt = { length, depth, seed: random.integer(), ...task.trial(random) }
        requireFit(prompt, haystack, model)
        planned.push(prompt)
      }
    }
  }
  return planned
}

/** The prompt's `length` tokens. */
export function promptTokens({ needle, question, length, depth, seed }: PlannedPrompt, haystack: Int32Array): Int32Array {
  return needlePrompt({ haystack, needle, question, length, depth, seed }).tokens
}

/** Tokens that a model reads to be scored on a prompt: all of it, and the answer but for its last token. */
export function scoredLength({ length, answer }: PlannedPrompt): number {
  return length + answer.length - 1
}

function requireFit(prompt: PlannedPrompt, haystack: Int32Array, model: DecoderModel): void {
  const { needle, question, answer, length } = prompt
  for (const [part, ids] of Object.entries({ needle, question, answer })) {
    if (ids.length === 0)
      throw new InvalidConfigError('task', `the task made a trial whose ${part} has no token; it must have at least one.`)
    requireIds('task', `the ${part} that the task made`, ids, model)
  }
  const fixed = needle.length + question.length
  if (length < fixed) {
    throw new InvalidConfigError('lengths', `lengths has ${length}; needle and question alone take ${fixed} tokens. Give longer lengths.`)
  }
  const { maxPositions } = model.config
  if (scoredLength(prompt) > maxPositions) {
    throw new InvalidConfigError(
      'lengths',
      `lengths has ${length}, with the answer ${scoredLength(prompt)} tokens; this model takes at most ${maxPositions} (max_position_embeddings). Give shorter lengths.`,
    )
  }
  if (length - fixed > haystack.length) {
    throw new InvalidConfigError(
      'haystack',
      `the haystack has ${haystack.length} tokens; a prompt of ${length} needs ${length - fixed} of them. Give a longer text or shorter lengths.`,
    )
  }
}

function requireIds(setting: string, what: string, ids: Int32Array, { config }: DecoderModel): void {
  const stranger = ids.find((id) => id < 0 || id >= config.vocabSize)
  if (stranger === undefined) return
  throw new InvalidConfigError(
    setting,
    `${what} has the id ${stranger}; this model takes 0 to ${config.vocabSize - 1}. Tokenize with the model's own tokenizer.`,
  )
}

function trialStream(seed: number, place: readonly number[]): RandomStream {
  const mixed = place.reduce((state, value) => new RandomStream(state ^ Math.imul(value + 1, 0x9e3779b1)).integer(), seed)
  return new RandomStream(mixed)
}
