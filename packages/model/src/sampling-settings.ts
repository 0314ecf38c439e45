import { InvalidInputError } from './invalid-input-error.js'

/** How the next token is drawn from its logits, in the order of the fields. See `ModelOps.sample` for what is kept. */
export interface SamplingSettings {
  /** Logits are divided by it; 0 takes the likeliest token. Default 1. */
  readonly temperature?: number
  /** Only this many likeliest tokens; 0, the default, for all. Not the topK of PHSA, which counts blocks. */
  readonly topK?: number
  /** Of these the shortest run of likeliest ones that holds this share of their mass; above 0, at most 1, the default. */
  readonly topP?: number
  /** Of these only those of at least this share of the largest probability; 0, the default, to 1. */
  readonly minP?: number
  /**
   * Logits of all tokens of prompt and text so far are divided by it where positive and multiplied by it where negative, before anything else, at
   * temperature 0 too. Above 0; 1, the default, changes nothing; another value brings all logits to the host for every token.
   */
  readonly repetitionPenalty?: number
  /** Integer from 0 to 2^32 - 1, default 0: the same seed draws the same tokens. */
  readonly seed?: number
}

/** Sampling settings with nothing left open. */
export type CompleteSampling = Required<SamplingSettings>

const DEFAULTS: CompleteSampling = { temperature: 1, topK: 0, topP: 1, minP: 0, repetitionPenalty: 1, seed: 0 }

/** What each setting may be. */
const RULES: Readonly<Record<keyof CompleteSampling, { readonly holds: (value: number) => boolean; readonly allowed: string }>> = {
  temperature: { holds: (value) => Number.isFinite(value) && value >= 0, allowed: 'a number of at least 0' },
  topK: { holds: (value) => Number.isInteger(value) && value >= 0, allowed: 'an integer of at least 0; 0 keeps all tokens' },
  topP: { holds: (value) => value > 0 && value <= 1, allowed: 'a number above 0 and at most 1; 1 keeps all tokens' },
  minP: { holds: (value) => value >= 0 && value <= 1, allowed: 'a number from 0 to 1; 0 keeps all tokens' },
  repetitionPenalty: { holds: (value) => Number.isFinite(value) && value > 0, allowed: 'a number above 0; 1 changes nothing' },
  seed: { holds: (value) => Number.isInteger(value) && value >= 0 && value < 2 ** 32, allowed: 'an integer from 0 to 4294967295' },
}

/**
 * Fills in what is left open; without settings the choice is greedy.
 * @throws InvalidInputError that names the setting
 */
export function completeSampling(settings: SamplingSettings = { temperature: 0 }): CompleteSampling {
  const names = Object.keys(DEFAULTS) as (keyof CompleteSampling)[]
  const complete = Object.fromEntries(names.map((name) => [name, settings[name] ?? DEFAULTS[name]])) as unknown as CompleteSampling
  for (const name of names) {
    const { holds, allowed } = RULES[name]
    if (!holds(complete[name])) throw new InvalidInputError(`sampling.${name} is ${complete[name]}; it must be ${allowed}.`)
  }
  return complete
}
