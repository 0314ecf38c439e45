import { InvalidConfigError } from './errors/invalid-config-error.js'
import { RandomStream } from './random-stream.js'

/** A needle-in-a-haystack prompt to build (spec 9). All texts are token ids. */
export interface NeedleOptions {
  /** Filler text; at least as long as what the needle and the question leave of `length`. */
  readonly haystack: Int32Array
  /** The fact to find again. */
  readonly needle: Int32Array
  /** What asks for the fact, at the end of the prompt. */
  readonly question: Int32Array
  /** Tokens of the whole prompt. */
  readonly length: number
  /** Place of the needle in the filler, 0 to 1: 0 before all of it, 1 after all of it. */
  readonly depth: number
  /** Decides which part of the haystack is the filler. */
  readonly seed: number
}

/** A prompt with a needle in it, and where its parts lie. */
export interface NeedlePrompt {
  /** Filler, needle, filler, question: `length` token ids. */
  readonly tokens: Int32Array
  /** Position of the needle's first token. */
  readonly needleStart: number
  /** Position of the question's first token; the question ends the prompt. */
  readonly questionStart: number
}

/**
 * Builds one needle-in-a-haystack prompt (spec 9): a run of the haystack, drawn by the seed, with the needle inside and the question after it.
 * The same options give the same prompt.
 * @throws InvalidConfigError for an empty needle or question, a depth outside 0 to 1, or a length that the parts do not fit or fill
 */
export function needlePrompt({ haystack, needle, question, length, depth, seed }: NeedleOptions): NeedlePrompt {
  for (const [setting, ids] of Object.entries({ needle, question })) {
    if (ids.length === 0) throw new InvalidConfigError(setting, `the ${setting} has no tokens; give at least one.`)
  }
  if (!(depth >= 0 && depth <= 1)) {
    throw new InvalidConfigError('depth', `depth is ${depth}; it is 0 (needle first) to 1 (needle just before the question).`)
  }
  const filler = length - needle.length - question.length
  if (!Number.isInteger(length) || filler < 0 || filler > haystack.length) {
    const least = needle.length + question.length
    throw new InvalidConfigError(
      'length',
      `length is ${length}; with this needle, question and haystack it is an integer from ${least} to ${least + haystack.length}. Give a longer haystack for more.`,
    )
  }
  const first = new RandomStream(seed).below(haystack.length - filler + 1)
  const needleStart = Math.round(depth * filler)
  const questionStart = length - question.length
  const tokens = new Int32Array(length)
  tokens.set(haystack.subarray(first, first + needleStart))
  tokens.set(needle, needleStart)
  tokens.set(haystack.subarray(first + needleStart, first + filler), needleStart + needle.length)
  tokens.set(question, questionStart)
  return { tokens, needleStart, questionStart }
}
