import { InvalidConfigError } from './errors/invalid-config-error.js'

/** Outcome of one needle-in-a-haystack prompt (spec 9). */
export interface RetrievalTrial {
  /** Tokens of the prompt. */
  readonly length: number
  /** Place of the needle in the filler, 0 to 1. */
  readonly depth: number
  /** Whether the model gave the needle's fact back. */
  readonly found: boolean
}

/** Accuracy over some trials, in percent. */
export interface RetrievalAccuracy {
  readonly trials: number
  /** Share of the trials that found the needle, 0 to 100. */
  readonly accuracy: number
  /** 95 % sampling interval of the accuracy (Wilson), in percent: within 0 to 100, and of some width even where all or none were found. */
  readonly interval: readonly [low: number, high: number]
  /** 100 - accuracy: how the paper's "information loss" is read. */
  readonly informationLoss: number
}

/** Accuracy at one length and depth. */
export interface RetrievalCell extends RetrievalAccuracy {
  readonly length: number
  readonly depth: number
}

/** Accuracy by length and depth, and over all trials. */
export interface RetrievalTable {
  /** One cell for each length and depth that was tried, by rising length, then rising depth. */
  readonly cells: readonly RetrievalCell[]
  readonly overall: RetrievalAccuracy
}

/** 97.5 % quantile of the standard normal distribution. */
const QUANTILE = 1.959963984540054

/**
 * Needle-in-a-haystack accuracy by depth and length (spec 9).
 * @throws InvalidConfigError without trials
 */
export function retrievalAccuracy(trials: readonly RetrievalTrial[]): RetrievalTable {
  if (trials.length === 0) throw new InvalidConfigError('trials', 'accuracy over no trials is not defined; give at least one.')
  const groups = new Map<string, RetrievalTrial[]>()
  for (const trial of trials) {
    const key = `${trial.length} ${trial.depth}`
    groups.set(key, [...(groups.get(key) ?? []), trial])
  }
  const cells = [...groups.values()].map((group) => ({ length: group[0].length, depth: group[0].depth, ...accuracyOf(group) }))
  cells.sort((left, right) => left.length - right.length || left.depth - right.depth)
  return { cells, overall: accuracyOf(trials) }
}

function accuracyOf(trials: readonly RetrievalTrial[]): RetrievalAccuracy {
  const share = trials.filter(({ found }) => found).length / trials.length
  const accuracy = 100 * share
  return { trials: trials.length, accuracy, interval: wilsonInterval(share, trials.length), informationLoss: 100 - accuracy }
}

function wilsonInterval(share: number, trials: number): readonly [number, number] {
  const spread = QUANTILE ** 2 / trials
  const center = (share + spread / 2) / (1 + spread)
  const half = (QUANTILE * Math.sqrt((share * (1 - share)) / trials + spread / (4 * trials))) / (1 + spread)
  return [100 * Math.max(0, center - half), 100 * Math.min(1, center + half)]
}
