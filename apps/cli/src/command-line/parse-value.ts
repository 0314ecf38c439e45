import { InvalidArgumentError } from 'commander'

/** Commander parser of an integer within bounds. */
export function integerBetween(least: number, most = Number.MAX_SAFE_INTEGER): (text: string) => number {
  return (text) => {
    const value = /^-?\d+$/.test(text) ? Number(text) : Number.NaN
    if (value >= least && value <= most) return value
    throw new InvalidArgumentError(
      most === Number.MAX_SAFE_INTEGER ? `It must be an integer of at least ${least}.` : `It must be an integer from ${least} to ${most}.`,
    )
  }
}

/** Commander parser of a number within bounds. */
export function numberBetween(least: number, most: number): (text: string) => number {
  return (text) => {
    const value = text.trim() === '' ? Number.NaN : Number(text)
    if (value >= least && value <= most) return value
    throw new InvalidArgumentError(`It must be a number from ${least} to ${most}.`)
  }
}

/** Commander parser of values with commas between. @param parse parser of one value */
export function listOf<T>(parse: (text: string) => T): (text: string) => readonly T[] {
  return (text) => text.split(',').map((part) => parse(part.trim()))
}

/** Commander parser of one of some names. */
export function oneOf<Name extends string>(names: readonly Name[]): (text: string) => Name {
  return (text) => {
    const found = names.find((name) => name === text)
    if (found !== undefined) return found
    throw new InvalidArgumentError(`There is ${names.join(', ')}.`)
  }
}

/** Commander parser of a text. */
export function nonEmpty(text: string): string {
  if (text === '') throw new InvalidArgumentError('It must not be empty.')
  return text
}

/** Commander parser of a text that may be given several times. */
export function oneMore(text: string, before: readonly string[] = []): readonly string[] {
  return [...before, nonEmpty(text)]
}
