import type { CalibrationReport } from '../../apps/cli/src/calibration/calibration-report.js'
import type { EvalReport } from '../../apps/cli/src/evaluation/eval-report.js'
import { variantName } from '../../apps/cli/src/evaluation/follow-evaluation.js'
import { formatCount, formatPercent } from '../../apps/cli/src/terminal/format.js'

/** What was measured of the model of the playground, by the name of its file; needle is a retrieval. */
export interface SmallModelResults {
  /** Of windows of different lengths, the shortest first. */
  readonly evaluations: readonly EvalReport[]
  readonly needle?: EvalReport
  readonly calibration?: CalibrationReport
}

/** The tables of the model's README. */
export function smallModelTables({ evaluations, needle, calibration }: SmallModelResults): string {
  return [
    ...evaluations.map(evaluationTable),
    ...(needle?.retrieval ? [needleTable(needle)] : []),
    ...(calibration ? [calibrationSentence(calibration)] : []),
  ].join('\n\n')
}

function evaluationTable({ windows, tokens, selections, device }: EvalReport): string {
  const rows = selections.map((row) =>
    [
      variantName(row),
      row.perplexity.toFixed(2),
      formatPercent(row.recall),
      row.selectionRecall === undefined ? '' : formatPercent(row.selectionRecall),
      formatCount(row.activatedTokens),
      formatPercent(row.sparsity),
    ].join(' | '),
  )
  return [
    `${windows} windows of ${formatCount(tokens)} tokens (${device.split(',')[0]}):`,
    `| | perplexity | mass recall | block recall | a query sees | sparsity |\n| --- | ---: | ---: | ---: | ---: | ---: |\n${rows.map((row) => `| ${row} |`).join('\n')}`,
  ].join('\n\n')
}

function needleTable({ retrieval = [] }: EvalReport): string {
  const lengths = [...new Set(retrieval.flatMap(({ cells }) => cells.map(({ length }) => length)))]
  const { trials } = retrieval[0].overall
  if (retrieval.every(({ overall }) => overall.accuracy === 0)) {
    const [shortest, longest] = [Math.min(...lengths), Math.max(...lengths)].map(formatCount)
    return `Needles (\`phsa eval --needle\`): none is found, by dense attention neither, in ${trials} prompts of ${shortest} to ${longest} tokens for each of ${retrieval.map(variantName).join(', ')}. The training has not taught this model to look back.`
  }
  const rows = retrieval.map((row) => {
    const shares = lengths.map((length) => {
      const cells = row.cells.filter((cell) => cell.length === length)
      const trials = cells.reduce((sum, cell) => sum + cell.trials, 0)
      return `${(cells.reduce((sum, cell) => sum + cell.accuracy * cell.trials, 0) / trials).toFixed(0)} %`
    })
    return `| ${[variantName(row), ...shares].join(' | ')} |`
  })
  return [
    `Needles found in prompts of so many tokens, ${trials} trials a line, all depths together:`,
    `| | ${lengths.map(formatCount).join(' | ')} |\n| --- |${lengths.map(() => ' ---: |').join('')}\n${rows.join('\n')}`,
  ].join('\n\n')
}

function calibrationSentence({ calibration }: CalibrationReport): string {
  const { heldOut, punctuation, topK } = calibration
  return `Calibration of lambda (topK ${topK}): on the half of the text that chose nothing, lambda 0.5 sees ${formatPercent(heldOut.half)} of the attention mass, lambda 1 (mean-pool) ${formatPercent(heldOut.one)}, a lambda of its own for each layer ${formatPercent(heldOut.calibrated)}, the best blocks ${formatPercent(heldOut.oracle)}. Punctuation is ${formatPercent(punctuation.farKeys)} of the far keys and ${formatPercent(punctuation.strongest)} of the strongest.`
}
