import { existsSync } from 'node:fs'
import type { DType } from '@phsa/core'
import { tokenBatch } from '@phsa/model'
import { type CalibrationOptions, calibrate, requireNoCheckpoint, saveLambda } from '@phsa/trainer'
import { withBackend } from '../backends.js'
import type { CalibrationReport } from '../calibration/calibration-report.js'
import { calibrationText, ownIsBetter } from '../calibration/calibration-text.js'
import { heldOutPassages } from '../calibration/held-out-passages.js'
import { followCalibration } from '../evaluation/follow-evaluation.js'
import { ExitCode } from '../exit-code.js'
import { prepareFile, prepareFolder } from '../files/prepare-folder.js'
import { writeWholeFile } from '../files/write-whole-file.js'
import { interruptible } from '../interruption.js'
import { loadTextModel } from '../load-text-model.js'
import { machine } from '../machine.js'
import { packageVersion } from '../package-version.js'
import { readText } from '../read-text.js'
import { calibrationPage } from '../report/calibration-page.js'
import { reportJson } from '../report-json.js'
import { UsageError } from '../usage-error.js'

export interface CalibrateOptions extends Pick<CalibrationOptions, 'lambdas' | 'representatives' | 'scores' | 'topK'> {
  readonly text: readonly string[]
  readonly windows: number
  readonly tokens?: number
  readonly rows: number
  readonly seed: number
  readonly backend?: string
  readonly dtype?: DType
  readonly out?: string
  readonly dryRun?: boolean
  readonly html?: string
  readonly json?: boolean
}

/** Measures a model's lambdas on a text and writes them into its configuration, or into that of a copy. */
export async function runCalibrate(folder: string, options: CalibrateOptions): Promise<ExitCode> {
  const { text: files, windows, out, dryRun, html, seed } = options
  await requirePlaces(folder, options)
  const text = (await Promise.all(files.map(readText))).join('\n\n\n')
  return interruptible((interruption) =>
    withBackend(options.backend, async (backend) => {
      const { model, tokenizer, punctuation } = await loadTextModel(folder, { backend, dtype: options.dtype })
      try {
        const tokens = options.tokens ?? Math.min(4096, model.config.maxPositions)
        // In the order of the text: its first half chooses, its second one measures.
        const passages = heldOutPassages(text, tokenizer, { count: windows, length: tokens })
        const batches = passages.map((passage) => tokenBatch([passage], punctuation))
        const calibration = await followCalibration(calibrate({ ...options, model, batches, signal: interruption.signal }))
        const changes = calibration.layers.some((layer) => layer?.some(({ lambda, before }) => lambda !== before))
        const written =
          dryRun || ownIsBetter(calibration) || !(changes || out !== undefined)
            ? null
            : await saveLambda(folder, model.phsa, calibration.lambda, { out })
        const report: CalibrationReport = {
          createdAt: new Date().toISOString(),
          version: packageVersion(),
          machine: machine(),
          backend: backend.name,
          device: backend.device,
          model: folder,
          phsa: model.phsa,
          files,
          tokens,
          seed,
          calibration,
          written,
        }
        if (html !== undefined) await writeWholeFile(html, calibrationPage(report))
        process.stdout.write(options.json ? reportJson(report) : `${calibrationText(report)}\n`)
        return ExitCode.ok
      } catch (error) {
        if (!interruption.caused(error)) throw error
        process.stderr.write('interrupted; nothing was written\n')
        return ExitCode.interrupted
      } finally {
        model.dispose()
      }
    }),
  )
}

/** What would stop the result from being written, before anything is measured. */
async function requirePlaces(folder: string, { out, dryRun, html }: CalibrateOptions): Promise<void> {
  if (out !== undefined && dryRun)
    throw new UsageError('--dry-run writes no configuration, so --out has nothing to say; leave one of them out.')
  if (out !== undefined && existsSync(out)) throw new UsageError(`${out} is there already; give --out the name of a folder that is not.`)
  if (!dryRun) await requireNoCheckpoint(folder)
  if (html !== undefined) await prepareFile(html)
  if (out === undefined && !dryRun && existsSync(folder)) await prepareFolder(folder)
}
