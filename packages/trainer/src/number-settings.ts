import { InvalidConfigError } from '@phsa/core'

/** @throws InvalidConfigError for what is no integer of at least `least` */
export function requireInteger(setting: string, value: number, least: number): void {
  if (Number.isSafeInteger(value) && value >= least) return
  throw new InvalidConfigError(setting, `${setting} is ${value}; it must be an integer of at least ${least}.`)
}

/** @throws InvalidConfigError for what is no number from `least` to `most` */
export function requireRange(setting: string, value: number, least: number, most: number): void {
  if (value >= least && value <= most) return
  throw new InvalidConfigError(setting, `${setting} is ${value}; it must be a number from ${least} to ${most}.`)
}
