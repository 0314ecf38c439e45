import type { Calibration } from '@phsa/trainer'
import { formatCount, formatPercent } from '../terminal/format.js'
import { formatTable } from '../terminal/table.js'
import type { CalibrationReport } from './calibration-report.js'

/** What was found, for the terminal. */
export function calibrationText({ calibration, tokens, written, phsa }: CalibrationReport): string {
  const { topK, past, windows, queries } = calibration
  return [
    `${windows[0]} windows of ${formatCount(tokens)} tokens to choose on, ${windows[1]} held out; ${queries[0]} and ${queries[1]} queries past position ${past}, for each layer and KV head; topK ${topK}`,
    `lambda by layer and KV head; in brackets the share of queries whose strongest far key is punctuation\n\n${lambdaTable(calibration)}`,
    farText(calibration),
    `mean attention-mass recall on the held-out half\n\n${settingTable(calibration)}`,
    heldOutText(calibration),
    verdictText(calibration),
    writtenText(calibration, phsa.lambda, written),
  ].join('\n\n')
}

function lambdaTable({ layers }: Calibration): string {
  const heads = layers.find((layer) => layer !== null)?.length ?? 0
  return formatTable(
    ['layer', ...Array.from({ length: heads }, (_, head) => `head ${head}`)],
    layers.map((layer, index) => [
      String(index),
      ...Array.from({ length: heads }, (_, head) => {
        const found = layer?.[head]
        return found ? `${shortLambda(found.lambda)} (${formatPercent(found.strongestIsPunctuation)})` : 'dense'
      }),
    ]),
  )
}

function settingTable({ settings, lambdas }: Calibration): string {
  return formatTable(
    ['representatives, score', ...settings.map(settingName)],
    [
      ...lambdas.map((lambda, index) => [`lambda ${shortLambda(lambda)}`, ...settings.map(({ recalls }) => formatPercent(recalls[index]))]),
      ['calibrated', ...settings.map(({ calibrated }) => formatPercent(calibrated))],
    ],
  )
}

/** "1, softmax", with a mark for the model's own. @param index of the setting: the model's own is the first */
export function settingName(
  { representatives, score }: { readonly representatives: number; readonly score: string },
  index: number,
): string {
  return `${representatives}, ${score}${index === 0 ? ' (own)' : ''}`
}

/** How often punctuation is what must be found, and what chance would give. */
export function farText({ punctuation }: Calibration): string {
  return `the strongest far key is punctuation for ${formatPercent(punctuation.strongest)} of the queries; ${formatPercent(punctuation.farKeys)} of all far keys are`
}

/** What calibration gains on the held-out half, in points of recall. */
export function heldOutText({ heldOut }: Calibration): string {
  const { calibrated, gainOverOne, gainOverHalf, gainOverBefore, oracle } = heldOut
  return [
    `calibrated ${formatPercent(calibrated)}; the best blocks of this budget would hold ${formatPercent(oracle)}`,
    `over lambda 1 (mean-pool)  ${gainText(gainOverOne)}`,
    `over lambda 0.5            ${gainText(gainOverHalf)}`,
    `over what the model had    ${gainText(gainOverBefore)}`,
  ].join('\n')
}

/** The verdict in a sentence. */
export function verdictText({ verdict, heldOut }: Calibration): string {
  const { calibrated, one, gainOverOne } = heldOut
  const compared = `${formatPercent(calibrated)} calibrated, ${formatPercent(one)} with lambda 1 in every head, ${gainText(gainOverOne)}`
  if (verdict === 'helps') return `punctuation helps this model on this text: ${compared}`
  if (verdict === 'hurts') return `lambda 1 is better: ${compared}; punctuation does not help this model on this text. Set phsa.lambda to 1`
  return `lambda 1 is as good: ${compared}; punctuation does not help this model on this text`
}

function gainText({ mean, interval }: Calibration['heldOut']['gainOverOne']): string {
  const signed = (value: number) => `${value < 0 ? '-' : '+'}${Math.abs(100 * value).toFixed(2)}`
  return `${signed(mean)} points${interval ? ` (95 % interval ${signed(interval[0])} to ${signed(interval[1])})` : ''}`
}

/** Whether what was chosen on one half loses on the other, by more than the interval, to what the model had: then it must not be written. */
export function ownIsBetter({ heldOut }: Calibration): boolean {
  const { interval } = heldOut.gainOverBefore
  return interval !== undefined && interval[1] < 0
}

function writtenText(calibration: Calibration, before: CalibrationReport['phsa']['lambda'], written: string | null): string {
  const { lambda, layers } = calibration
  const changed = layers.flatMap((layer) => layer ?? []).filter((head) => head.lambda !== head.before).length
  const from = typeof before === 'number' ? `lambda ${before}` : 'the lambdas in place'
  const heads = `${changed} of ${lambda.flat().length} heads`
  if (written !== null) return `${heads} leave ${from}; written to ${written}`
  if (ownIsBetter(calibration))
    return `on the held-out half ${from} ${typeof before === 'number' ? 'is' : 'are'} better than what was chosen: the configuration stays as it is`
  if (changed > 0) return `dry run, nothing was written: ${heads} would leave ${from}`
  return 'no head gains more than its interval from another lambda: the configuration stays as it is'
}

/** Without digits that say nothing: a lambda that was learned has seven. */
function shortLambda(lambda: number): string {
  return String(Number(lambda.toFixed(3)))
}
