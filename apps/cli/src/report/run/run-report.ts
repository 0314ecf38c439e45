import { formatCount } from '../../terminal/format.js'
import { figure, htmlPage, htmlTable, legend } from '../html-page.js'
import { color } from '../palette.js'
import { runningMean } from '../running-mean.js'
import { escapeMarkup } from '../svg-document.js'
import { runFigures } from './run-figures.js'
import type { LoggedStep } from './run-steps.js'
import { type StepChart, type StepLine, stepChart } from './step-chart.js'
import type { CurvePoint } from './thin-out.js'

/** Spikes and skips that are listed one by one. */
const LISTED = 30

/**
 * The page about a training run: one file, nothing to fetch, of a size that hardly depends on the number of steps.
 * @param steps of its log so far, at least one
 * @param configuration as the run's folder has it, where it has one
 */
export function runReport(name: string, steps: readonly LoggedStep[], configuration?: string): string {
  const last = steps[steps.length - 1]
  return htmlPage(
    `Training of ${name}`,
    [
      `<h1>Training of ${escapeMarkup(name)}</h1>\n<p>Through step ${formatCount(last.step)}, ${formatCount(last.tokens)} tokens. Shaded in curves: steps with sparse attention. Thick lines through pale ones are running means.</p>`,
      htmlTable(['figure', 'value'], runFigures(steps), true),
      `<h2>Curves</h2>\n${markLegend(steps)}<div class="figures">\n${charts(steps).join('\n')}\n</div>`,
      incidents(steps),
      configuration === undefined
        ? ''
        : `<h2>Configuration</h2>\n<div class="scroll" tabindex="0"><pre>${escapeMarkup(configuration)}</pre></div>`,
    ]
      .filter((part) => part !== '')
      .join('\n'),
  )
}

function charts(steps: readonly LoggedStep[]): string[] {
  const pointsOf = (value: (step: LoggedStep) => number | undefined): CurvePoint[] =>
    steps.flatMap((step) => {
      const found = value(step)
      return found === undefined ? [] : [{ step: step.step, value: found }]
    })
  const range = [steps[0].step, steps[steps.length - 1].step] as const
  const draw = (title: string, caption: string, chart: Omit<StepChart, 'steps' | 'sparse' | 'name'>) =>
    chart.lines.every(({ points }) => points.every(({ value }) => !Number.isFinite(value)))
      ? []
      : [figure(stepChart({ ...chart, name: `${title} by training step`, steps: range, sparse: sparseRanges(steps) }), caption, title)]
  const noisy = (value: (step: LoggedStep) => number | undefined, stroke: string): StepLine[] => {
    const points = pointsOf(value)
    return [
      { points, stroke, pale: true },
      { points: smooth(points), stroke },
    ]
  }
  const validation = pointsOf((step) => step.validation?.loss)
  return [
    ...draw('Training loss', 'Marks at the top: skipped steps and loss spikes.', {
      label: 'loss (nats a token)',
      lines: noisy((step) => step.loss, color.meanPool),
      marks: steps.flatMap(({ step, skipped, spike }) => (skipped || spike ? [{ step, stroke: skipped ? color.infllm : color.mark }] : [])),
    }),
    ...draw('Validation loss', 'Of held-out text, with the attention of its step.', {
      label: 'loss (nats a token)',
      lines: [{ points: validation, stroke: color.dense, dots: true }],
    }),
    ...draw(
      'Attention-mass recall',
      'Share of the dense attention probability that falls on visible keys, mean over layers and heads of a sample.',
      {
        label: 'recall (%)',
        lines: [{ points: pointsOf((step) => step.recall && step.recall.mean * 100), stroke: color.phsa, dots: true }],
      },
    ),
    ...draw('Block distillation loss', 'Mean over the layers that select, without its coefficient.', {
      label: 'distillation loss',
      lines: noisy((step) => step.distillationLoss, color.phsa),
    }),
    ...draw('Learned lambda', 'Mean, least and largest over layers and heads.', {
      label: 'lambda',
      lines: [
        { points: pointsOf((step) => step.lambda?.mean), stroke: color.phsa },
        { points: pointsOf((step) => step.lambda?.min), stroke: color.phsa, pale: true },
        { points: pointsOf((step) => step.lambda?.max), stroke: color.phsa, pale: true },
      ],
    }),
    ...draw('Schedule', 'Blocks selected a query; nothing is drawn where attention is dense.', {
      label: 'topK',
      lines: sparseRanges(steps).map(([from, to]) => ({
        points: pointsOf(({ step, topK }) => (topK === 'dense' || step < from || step > to ? undefined : topK)),
        stroke: color.phsa,
        stairs: true,
      })),
      fromZero: true,
    }),
    ...draw('Learning rate', 'Of each step.', {
      label: 'learning rate',
      lines: [{ points: pointsOf((step) => step.learningRate), stroke: color.dense }],
      fromZero: true,
    }),
    ...draw('Gradient norm', 'Of all gradients before clipping.', {
      label: 'gradient norm',
      lines: noisy((step) => step.gradientNorm, color.meanPool),
    }),
    ...draw('Throughput', 'Tokens a second of each step.', {
      label: 'tokens/s',
      lines: noisy((step) => step.tokensPerSecond, color.infllm),
      fromZero: true,
    }),
    ...draw('Model FLOP utilisation', 'Share of the peak of all devices; recomputation does not count.', {
      label: 'MFU (%)',
      lines: noisy((step) => step.mfu && step.mfu * 100, color.infllm),
      fromZero: true,
    }),
  ]
}

/** Ranges of consecutive steps in which attention was sparse. */
function sparseRanges(steps: readonly LoggedStep[]): (readonly [from: number, to: number])[] {
  const ranges: [number, number][] = []
  let wasSparse = false
  for (const { step, topK } of steps) {
    const isSparse = topK !== 'dense'
    if (isSparse && !wasSparse) ranges.push([step, step])
    if (isSparse) ranges[ranges.length - 1][1] = step
    wasSparse = isSparse
  }
  return ranges
}

function smooth(points: readonly CurvePoint[]): CurvePoint[] {
  const finite = points.filter(({ value }) => Number.isFinite(value))
  const means = runningMean(
    finite.map(({ value }) => value),
    1 - 1 / Math.max(2, finite.length / 40),
  )
  return finite.map(({ step }, index) => ({ step, value: means[index] }))
}

function markLegend(steps: readonly LoggedStep[]): string {
  const entries = [
    ...(steps.some((step) => step.skipped) ? [{ label: 'skipped step', fill: color.infllm, shape: 'tick' as const }] : []),
    ...(steps.some((step) => step.spike) ? [{ label: 'loss spike', fill: color.mark, shape: 'tick' as const }] : []),
  ]
  return entries.length === 0 ? '' : `${legend(entries)}\n`
}

/** The latest skips and spikes as a table; nothing where there were none. */
function incidents(steps: readonly LoggedStep[]): string {
  const odd = steps.filter((step) => step.skipped || step.spike)
  if (odd.length === 0) return ''
  const rows = odd
    .slice(-LISTED)
    .map(({ step, skipped, spike, loss }) => [
      formatCount(step),
      skipped ? 'skipped: gradients were not finite' : 'loss spike',
      Number.isFinite(loss) ? loss.toFixed(4) : 'not finite',
      spike ? spike.expected.toFixed(4) : '',
    ])
  const more = odd.length > LISTED ? `\n<p class="muted">The last ${LISTED} of ${formatCount(odd.length)}.</p>` : ''
  return `<h2>Skips and spikes</h2>\n${htmlTable(['step', 'what', 'loss', 'expected'], rows, true)}${more}`
}
