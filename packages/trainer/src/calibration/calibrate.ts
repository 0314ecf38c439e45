import { attentionSpec, densePolicy, InvalidConfigError, PackedLayout } from '@phsa/core'
import type { DecoderModel, TokenBatch } from '@phsa/model'
import { sampleRows } from '../evaluation/sample-rows.js'
import { nextTurn } from '../next-turn.js'
import { uploadBranches } from './branch-scores.js'
import { type CalibrationOptions, type CalibrationPlan, planCalibration } from './calibration-options.js'
import type { Calibration } from './calibration-result.js'
import { type LayerMeasurement, measureLayer, type WindowMeasurement } from './measure-layer.js'
import { summarize } from './summarize.js'

/** How far a calibration is: one layer of one window more is measured. */
export interface CalibrationProgress {
  readonly done: number
  readonly total: number
}

/**
 * Measures which lambda each layer and KV head of a model wants: on dense forwards over held-out text, the attention-mass recall (spec 9) of the blocks that
 * PHSA chooses with each lambda, number of representatives and score at one budget, and how often the strongest far key is punctuation. The model is left as
 * it is: `model.reconfigure({ lambda })` or `saveLambda` takes the result. Yields progress, layer by layer; one layer's q and k are held at a time.
 * @throws InvalidConfigError for wrong settings, fewer than two windows in a half, windows that end before a block can be left out, or no punctuation in them
 */
export async function* calibrate(options: CalibrationOptions): AsyncGenerator<CalibrationProgress, Calibration> {
  const { model, batches, signal } = options
  const plan = planCalibration(options)
  requirePunctuation(batches)
  const samples = batches.map((batch, index) => {
    const packed = new PackedLayout(batch.lengths, plan.phsa.blockSize)
    return { batch, packed, rows: sampleRows(packed.positions(), { ...plan, seed: plan.seed + index }) }
  })
  const border = Math.floor(samples.length / 2)
  const halves = [samples.slice(0, border), samples.slice(border)].map((half) => half.filter(({ rows }) => rows.length > 0))
  for (const half of halves) requireWindows(half.length, plan)
  model.reservePositions(Math.max(...batches.flatMap(({ lengths }) => lengths)))
  const total = (halves[0].length + halves[1].length) * model.config.layers
  let done = 0
  const measured: WindowMeasurement[][] = []
  for (const half of halves) {
    const windows: WindowMeasurement[] = []
    for (const { batch, packed, rows } of half) {
      const layers: (LayerMeasurement | undefined)[] = []
      for await (const layer of measureWindow(model, batch, packed, rows, plan)) {
        layers.push(layer)
        yield { done: ++done, total }
        await nextTurn()
        signal?.throwIfAborted()
      }
      windows.push({ queries: rows.length, layers })
    }
    measured.push(windows)
  }
  return summarize(measured[0], measured[1], plan)
}

async function* measureWindow(
  model: DecoderModel,
  batch: TokenBatch,
  packed: PackedLayout,
  rows: Int32Array,
  plan: CalibrationPlan,
): AsyncGenerator<LayerMeasurement | undefined> {
  const { backend, config } = model
  const counts = [...new Set(plan.settings.map(({ representatives }) => representatives))]
  const marks = batch.punctuation
  const branches = counts.map((count) => uploadBranches(backend, marks, packed, count))
  try {
    let layer = 0
    for (const { q, k, layout } of model.attentionLayers(batch, { policy: densePolicy, phsa: plan.phsa })) {
      const spec = attentionSpec(plan.phsa, { ...config, dtype: q.dtype })
      const isDense = plan.phsa.denseLayers.includes(layer)
      yield isDense ? undefined : await measureLayer(backend, { q, k, layout, packed, rows, spec, layer, marks, branches }, plan)
      layer++
    }
  } finally {
    for (const { global, punctuation } of branches) for (const tensor of [global, punctuation]) tensor.dispose()
  }
}

/** Without punctuation all lambdas choose alike, which would look like an answer. */
function requirePunctuation(batches: readonly TokenBatch[]): void {
  if (batches.length === 0 || batches.some(({ punctuation }) => punctuation.some((mark) => mark !== 0))) return
  throw new InvalidConfigError(
    'batches',
    'no token of the batches is punctuation, so that every lambda chooses the same blocks; make them with the punctuation table of the tokenizer, from text that has punctuation.',
  )
}

function requireWindows(windows: number, { past }: CalibrationPlan): void {
  if (windows >= 2) return
  throw new InvalidConfigError(
    'batches',
    `${windows} windows of one half of the text reach past position ${past}, where blocks are left out at this budget; at least 2 are needed in each half. Give more or longer windows, or a smaller topK.`,
  )
}
