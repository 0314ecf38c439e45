import type { Calibration, HeadCalibration } from '@phsa/trainer'
import type { CalibrationReport } from '../calibration/calibration-report.js'
import { farText, heldOutText, settingName, verdictText } from '../calibration/calibration-text.js'
import { formatCount, formatPercent } from '../terminal/format.js'
import { type HeatCell, type HeatMap, heatFigure } from './heat-map.js'
import { htmlPage, htmlTable } from './html-page.js'
import { escapeMarkup } from './svg-document.js'

/** The page of `phsa calibrate --html FILE`. */
export function calibrationPage({ model, backend, device, createdAt, tokens, calibration, written }: CalibrationReport): string {
  const { windows, queries, past, topK, lambdas, settings } = calibration
  const table = htmlTable(
    ['representatives, score', ...settings.map(settingName)],
    [
      ...lambdas.map((lambda, index) => [`lambda ${lambda}`, ...settings.map(({ recalls }) => formatPercent(recalls[index]))]),
      ['calibrated', ...settings.map(({ calibrated }) => formatPercent(calibrated))],
    ],
  )
  return htmlPage(
    `PHSA: lambda of ${model}`,
    `<h1>Lambda of ${escapeMarkup(model)}</h1>
<p class="note">${escapeMarkup(capital(verdictText(calibration)))}.</p>
<p>${windows[0]} windows of ${formatCount(tokens)} tokens to choose on, ${windows[1]} held out; ${queries[0]} and ${queries[1]} queries past position ${past}, for each layer and KV head; topK ${topK}. ${escapeMarkup(capital(farText(calibration)))}.</p>
<p class="muted">Backend ${escapeMarkup(backend)} (${escapeMarkup(device)}); ${escapeMarkup(createdAt)}. ${written === null ? 'No configuration was written.' : `Written to ${escapeMarkup(written)}.`}</p>
<h2>By layer and head</h2>${calibration.layers.includes(null) ? '\n<p>Layers without values attend densely.</p>' : ''}
<div class="figures">
${calibrationMaps(calibration).map(heatFigure).join('\n')}
</div>
<h2>Recall on the held-out half</h2>
<p>${heldOutText(calibration).split('\n').map(escapeMarkup).join('<br>')}</p>
${table}`,
  )
}

/** Lambda, strongest far keys that are punctuation, and held-out recall of the choice, by layer and KV head. */
export function calibrationMaps({ layers }: Calibration): HeatMap[] {
  const heads = layers.find((layer) => layer !== null)?.length ?? 0
  const map = (title: string, cell: (head: HeadCalibration) => HeatCell): HeatMap => ({
    title,
    rowAxis: 'layer',
    columnAxis: 'KV head',
    rows: layers.map((_, layer) => String(layer)),
    columns: Array.from({ length: heads }, (_, head) => String(head)),
    cells: layers.map((layer) => Array.from({ length: heads }, (_, head) => (layer ? cell(layer[head]) : null))),
  })
  const percent = (share: number): HeatCell => ({ shade: share, text: formatPercent(share) })
  return [
    map('Lambda; dark leans on punctuation', ({ lambda, before }) => {
      const text = String(Number(lambda.toFixed(3)))
      return { shade: 1 - lambda, text, detail: lambda === before ? `${text} (kept)` : `${text} (was ${before})` }
    }),
    map('Queries whose strongest far key is punctuation', ({ strongestIsPunctuation }) => percent(strongestIsPunctuation)),
    map('Attention-mass recall with this lambda, held-out half', ({ recall }) => percent(recall)),
  ]
}

function capital(sentence: string): string {
  return sentence.charAt(0).toUpperCase() + sentence.slice(1)
}
