import { InvalidConfigError, inWords } from '@phsa/core'

/**
 * A size of a parsed config.json.
 * @param path how messages name the setting
 * @throws InvalidConfigError naming it
 */
export function count(json: Record<string, unknown>, name: string, path = name): number {
  const value = json[name]
  if (!Number.isSafeInteger(value) || (value as number) < 1 || (value as number) > 2 ** 30) {
    throw new InvalidConfigError(path, `${path} is ${inWords(value)}; it must be an integer from 1 to ${2 ** 30}.`)
  }
  return value as number
}

/** A number above 0, otherwise like `count`. */
export function positive(json: Record<string, unknown>, name: string, path = name): number {
  const value = json[name]
  if (typeof value !== 'number' || !(value > 0) || value === Infinity) {
    throw new InvalidConfigError(path, `${path} is ${inWords(value)}; it must be a positive number.`)
  }
  return value
}

/** A finite number of at least `least`, otherwise like `count`. */
export function atLeast(least: number, json: Record<string, unknown>, name: string, path = name): number {
  const value = json[name]
  if (typeof value !== 'number' || !(value >= least) || value === Infinity) {
    throw new InvalidConfigError(path, `${path} is ${inWords(value)}; it must be a number of at least ${least}.`)
  }
  return value
}

/** A switch that is off where it is missing, otherwise like `count`. */
export function flag(json: Record<string, unknown>, name: string): boolean {
  const value = json[name] ?? false
  if (typeof value !== 'boolean') throw new InvalidConfigError(name, `${name} is ${inWords(value)}; it must be true or false.`)
  return value
}
