import { InvalidConfigError } from '@phsa/core'
import type { NeedleTask } from './needle-task.js'

/** The part of a tokenizer that a needle in text needs; `TextTokenizer` of @phsa/model has it. */
export interface NeedleTokenizer {
  encode(text: string): ArrayLike<number>
}

const COLOURS = ['red', 'blue', 'green', 'black', 'white', 'yellow', 'brown', 'grey', 'purple', 'orange', 'silver', 'golden']
const THINGS = ['door', 'boat', 'lamp', 'horse', 'garden', 'tower', 'letter', 'river', 'clock', 'bridge', 'mirror', 'window']

/**
 * A key with a five-digit number, in English: "The code of the green boat is 48213." The key and the number are drawn for each trial. The prompt
 * ends with the question and the answer's first words, so a model that only continues text can answer too.
 * @throws InvalidConfigError for a tokenizer that cannot tell one number from another
 */
export function textNeedle(tokenizer: NeedleTokenizer): NeedleTask {
  requireDigits(tokenizer)
  const encode = (text: string) => Int32Array.from(tokenizer.encode(text))
  return {
    trial(random) {
      const key = `${COLOURS[random.below(COLOURS.length)]} ${THINGS[random.below(THINGS.length)]}`
      const code = 10_000 + random.below(90_000)
      const asked = `\nWhat is the code of the ${key}? The code of the ${key} is`
      const [question, whole] = [encode(asked), encode(`${asked} ${code}`)]
      // Where the tokenizer joins the two at their border, the joined token belongs to the answer.
      const border = whole.findIndex((id, place) => id !== question[place])
      return { needle: encode(`\nThe code of the ${key} is ${code}.\n`), question: whole.slice(0, border), answer: whole.slice(border) }
    },
  }
}

function requireDigits(tokenizer: NeedleTokenizer): void {
  const digits = new Set(Array.from({ length: 10 }, (_, digit) => Array.from(tokenizer.encode(String(digit))).join()))
  if (digits.size === 10) return
  throw new InvalidConfigError(
    'task',
    `the tokenizer writes the ten digits in ${digits.size} ways, so that numbers cannot be told apart; use one that has the digits, or give a task of your own.`,
  )
}
