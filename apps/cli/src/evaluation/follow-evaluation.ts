import type {
  Calibration,
  CalibrationProgress,
  ChoiceProgress,
  ChoiceResult,
  EvaluationProgress,
  EvaluationRow,
  PositionProgress,
  PositionRow,
  RetrievalProgress,
  RetrievalRow,
} from '@phsa/trainer'
import { formatPercent } from '../terminal/format.js'
import { type Progress, startProgress } from '../terminal/progress.js'

/** Runs a comparison of policies to its end behind a progress bar; dense first. */
export function followSelections(label: string, evaluation: AsyncGenerator<EvaluationProgress, EvaluationRow[]>): Promise<EvaluationRow[]> {
  return follow(label, evaluation, ({ measure, row }) => (row ? `${variantName(row)}: perplexity ${row.perplexity.toFixed(2)}` : measure))
}

/** Runs a search for needles to its end behind a progress bar; dense first. */
export function followRetrieval(evaluation: AsyncGenerator<RetrievalProgress, RetrievalRow[]>): Promise<RetrievalRow[]> {
  return follow('needles', evaluation, ({ row }) => row && `${variantName(row)}: ${row.overall.accuracy.toFixed(0)} % found`)
}

/** Runs a measurement by position to its end behind a progress bar; dense first. */
export function followPositions(evaluation: AsyncGenerator<PositionProgress, PositionRow[]>): Promise<PositionRow[]> {
  return follow('positions', evaluation, ({ row }) => row && variantName(row))
}

/** Scores a multiple-choice file behind a progress bar. */
export function followChoices(evaluation: AsyncGenerator<ChoiceProgress, ChoiceResult>): Promise<ChoiceResult> {
  return follow('choices', evaluation, ({ row }) => row && `${variantName(row)}: ${formatPercent(row.acc.accuracy)} right`)
}

/** Calibrates behind a progress bar. */
export function followCalibration(calibration: AsyncGenerator<CalibrationProgress, Calibration>): Promise<Calibration> {
  return follow('calibrating', calibration, () => undefined)
}

/** A line of a table in words: "phsa topK 2". */
export function variantName({ policy, topK }: { readonly policy: string; readonly topK: number | 'dense' }): string {
  return topK === 'dense' ? 'dense' : `${policy} topK ${topK}`
}

async function follow<Step extends { readonly done: number; readonly total: number }, Table>(
  label: string,
  evaluation: AsyncGenerator<Step, Table>,
  note: (step: Step) => string | undefined,
): Promise<Table> {
  let progress: Progress | undefined
  try {
    for (;;) {
      const { value, done } = await evaluation.next()
      if (done) return value
      progress ??= startProgress({ label, total: value.total })
      progress.update(value.done, note(value))
    }
  } finally {
    progress?.stop()
  }
}
