import { formatCount, formatDuration, formatPercent } from '../../terminal/format.js'
import type { LoggedStep } from './run-steps.js'

/** The main figures of a run as rows of a table: what, and how much. */
export function runFigures(steps: readonly LoggedStep[]): [what: string, value: string][] {
  const last = steps[steps.length - 1]
  const trained = steps.filter(({ loss }) => Number.isFinite(loss))
  // A hundredth of the run, so that one odd step does not stand for its end.
  const share = Math.max(1, Math.ceil(trained.length / 100))
  const validated = steps.flatMap(({ step, validation }) => (validation ? [{ step, perplexity: validation.perplexity }] : []))
  const best = validated
    .filter(({ perplexity }) => Number.isFinite(perplexity))
    .toSorted((left, right) => left.perplexity - right.perplexity)[0]
  const recall = steps.findLast((step) => Number.isFinite(step.recall?.mean))?.recall
  const lambda = steps.findLast((step) => Number.isFinite(step.lambda?.mean))?.lambda
  const used = steps.flatMap(({ mfu }) => mfu ?? [])
  const skipped = steps.filter((step) => step.skipped).length
  const seconds = steps.reduce(
    (sum, step, index) => sum + (step.tokens - (steps[index - 1]?.tokens ?? firstTokens(steps))) / step.tokensPerSecond,
    0,
  )
  return [
    ['steps in the log', formatCount(steps.length)],
    ['last step', formatCount(last.step)],
    ['tokens', formatCount(last.tokens)],
    ['time in steps', formatDuration(seconds)],
    ['tokens/s, median', formatCount(median(steps.map(({ tokensPerSecond }) => tokensPerSecond)))],
    ...(used.length > 0 ? [row('model FLOP utilisation, median', formatPercent(median(used)))] : []),
    ...(trained.length > 0
      ? [
          row('loss, first hundredth', mean(trained.slice(0, share)).toFixed(4)),
          row('loss, last hundredth', mean(trained.slice(-share)).toFixed(4)),
        ]
      : []),
    ...(best
      ? [
          row('validation perplexity, last', perplexityText(validated[validated.length - 1])),
          row('validation perplexity, best', `${best.perplexity.toFixed(3)} after step ${formatCount(best.step)}`),
        ]
      : []),
    ...(recall ? [row('attention-mass recall, last', `${formatPercent(recall.mean)} at topK ${recall.topK}`)] : []),
    ...(lambda ? [row('learned lambda, last', `${lambda.mean.toFixed(3)} (${lambda.min.toFixed(3)} to ${lambda.max.toFixed(3)})`)] : []),
    ['topK, last', String(last.topK)],
    ['learning rate, last', last.learningRate.toPrecision(3)],
    ['skipped steps', formatCount(skipped)],
    ['loss spikes', formatCount(steps.filter((step) => step.spike).length)],
  ]
}

function perplexityText({ perplexity }: { readonly perplexity: number }): string {
  return Number.isFinite(perplexity) ? perplexity.toFixed(3) : 'not finite'
}

const row = (what: string, value: string): [string, string] => [what, value]

/** Tokens before the first step of the log: a step's share of all tokens is the same for each. */
function firstTokens([first]: readonly LoggedStep[]): number {
  return first.tokens - first.tokens / first.step
}

function mean(steps: readonly LoggedStep[]): number {
  return steps.reduce((sum, { loss }) => sum + loss, 0) / steps.length
}

function median(values: readonly number[]): number {
  return [...values].sort((left, right) => left - right)[values.length >> 1]
}
