import { InvalidConfigError } from './errors/invalid-config-error.js'
import { parseStages, type SparsityStage, stageExtent } from './sparsity-stage.js'

/** What holds at one moment of training; logged and saved with the checkpoint (spec 7). */
export interface SchedulePoint {
  /** Index of the stage. */
  readonly stage: number
  /** Whether every query sees all earlier keys. */
  readonly dense: boolean
  /** Blocks chosen by score; 0 while dense. */
  readonly topK: number
  /** Whether the block distillation loss is added (spec 10). */
  readonly distillation: boolean
}

/** Stages of growing sparsity over a training run (spec 7). Holds no progress of its own: the trainer passes the tokens seen. */
export class SparsitySchedule {
  readonly stages: readonly SparsityStage[]

  /** @throws InvalidConfigError naming the stage and the setting */
  constructor(stages: readonly SparsityStage[]) {
    this.stages = parseStages(stages)
  }

  /**
   * Tokens after which each stage ends, ascending; the last is `total`. Stages in tokens keep their length where the run is longer or shorter
   * than their sum: the last one is stretched, or the later ones are cut.
   */
  ends(total: number): number[] {
    requireTokens('total', total)
    let reached = 0
    const ends = this.stages.map((stage) => {
      reached += stageExtent(stage, total)
      return Math.min(total, Math.round(reached))
    })
    ends[ends.length - 1] = total
    return ends
  }

  /**
   * What holds after `tokens` of a run of `total` tokens; past the end, what held last.
   * @throws InvalidConfigError for counts that are negative or no integers
   */
  at(tokens: number, total: number): SchedulePoint {
    requireTokens('tokens', tokens)
    const ends = this.ends(total)
    const running = ends.findIndex((end) => tokens < end)
    // A stage that got no tokens of its own never runs, not even at the end.
    const index = running >= 0 ? running : Math.max(0, ends.indexOf(total))
    const stage = this.stages[index]
    const distillation = stage.distillation ?? false
    if (stage.kind === 'dense') return { stage: index, dense: true, topK: 0, distillation }
    const start = index === 0 ? 0 : ends[index - 1]
    return { stage: index, dense: false, topK: topKWithin(stage.topK, tokens - start, ends[index] - start), distillation }
  }

  /** Plain JSON, which `parseSchedule` reads. */
  toJSON(): { stages: readonly SparsityStage[] } {
    return { stages: this.stages }
  }
}

/**
 * Dense first, then topK 2 with block distillation (spec 7).
 * @param denseShare share of the tokens trained densely; 0 to continue from a dense checkpoint
 */
export function defaultSchedule(denseShare = 0.8): SparsitySchedule {
  if (!(denseShare >= 0 && denseShare < 1)) {
    throw new InvalidConfigError('denseShare', `denseShare is ${denseShare}; it must be at least 0 and below 1.`)
  }
  const dense: SparsityStage[] = denseShare > 0 ? [{ kind: 'dense', share: denseShare }] : []
  return new SparsitySchedule([...dense, { kind: 'sparse', share: 1 - denseShare, topK: 2, distillation: true }])
}

/**
 * A schedule from parsed JSON: `{ stages: [...] }`.
 * @throws InvalidConfigError naming the stage and the setting
 */
export function parseSchedule(json: unknown): SparsitySchedule {
  const stages = typeof json === 'object' && json !== null && 'stages' in json ? json.stages : undefined
  if (stages === undefined) throw new InvalidConfigError('stages', 'a schedule is an object with a list of stages: { "stages": [...] }.')
  return new SparsitySchedule(parseStages(stages))
}

/** A linear fall in whole blocks: each value from `from` to `to` holds for an equal part of the stage. */
function topKWithin(topK: number | { readonly from: number; readonly to: number }, done: number, length: number): number {
  if (typeof topK === 'number') return topK
  const { from, to } = topK
  if (length === 0) return to
  return Math.max(to, from - Math.floor((done * (from - to + 1)) / length))
}

function requireTokens(setting: string, value: number): void {
  if (Number.isSafeInteger(value) && value >= 0) return
  throw new InvalidConfigError(setting, `${setting} is ${value}; it must be a whole number of tokens, 0 or more.`)
}
