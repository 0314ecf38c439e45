import type { DType, PhsaConfig, PolicyName } from '@phsa/core'
import { type EvaluationRow, evaluateRetrieval, evaluateSelections, heldOutBatches, type RetrievalRow, textNeedle } from '@phsa/trainer'
import { withBackend } from '../backends.js'
import { evaluationText } from '../evaluation/evaluation-text.js'
import { followRetrieval, followSelections } from '../evaluation/follow-evaluation.js'
import { ExitCode } from '../exit-code.js'
import { prepareFile } from '../files/prepare-folder.js'
import { writeWholeFile } from '../files/write-whole-file.js'
import { interruptible } from '../interruption.js'
import { loadTextModel } from '../load-text-model.js'
import { type Machine, machine } from '../machine.js'
import { packageVersion } from '../package-version.js'
import { readText } from '../read-text.js'
import { reportJson } from '../report-json.js'
import { tokenizeText } from '../training/tokenize-text.js'
import { UsageError } from '../usage-error.js'

export interface EvalOptions {
  readonly model: string
  readonly policies: readonly PolicyName[]
  readonly topK: readonly number[]
  readonly windows: number
  readonly tokens: number
  readonly needle?: boolean
  readonly needleLengths?: readonly number[]
  readonly depths?: readonly number[]
  readonly trials?: number
  readonly seed: number
  readonly backend?: string
  readonly dtype?: DType
  readonly out?: string
  readonly json?: boolean
}

/** Everything that `phsa eval` found. Plain JSON. */
export interface EvalReport {
  readonly createdAt: string
  readonly version: string
  readonly machine: Machine
  readonly backend: string
  readonly device: string
  readonly model: string
  /** The model's own settings; `selections` say what policy and topK take their place. */
  readonly phsa: PhsaConfig
  readonly files: readonly string[]
  readonly windows: number
  readonly tokens: number
  readonly seed: number
  /** Dense first. */
  readonly selections: readonly EvaluationRow[]
  /** Dense first; absent where it was not asked for. */
  readonly retrieval?: readonly RetrievalRow[]
}

/** Measures a model folder by policy and budget on text that it was not trained on. */
export async function runEval(files: readonly string[], options: EvalOptions): Promise<ExitCode> {
  const { out, model: folder, windows, tokens, seed } = options
  if (out !== undefined) await prepareFile(out)
  const text = (await Promise.all(files.map(readText))).join('\n\n\n')
  return interruptible((interruption) =>
    withBackend(options.backend, async (backend) => {
      const { model, tokenizer, punctuation } = await loadTextModel(folder, { backend, dtype: options.dtype })
      try {
        const subject = { model, punctuation, policies: options.policies, topKs: options.topK, seed, signal: interruption.signal }
        const data = await tokenizeText(text, tokenizer)
        if (data.totalTokens < windows * tokens) {
          throw new UsageError(
            `the text has ${data.totalTokens} tokens; ${windows} windows of ${tokens} need ${windows * tokens}. Give more text, fewer --windows or fewer --tokens.`,
          )
        }
        const batches = heldOutBatches(data, { windows, tokens, punctuation, seed })
        const selections = await followSelections('evaluating', evaluateSelections({ ...subject, batches }))
        const { needle, needleLengths: lengths = [tokens], depths, trials } = options
        const retrieval = needle
          ? await followRetrieval(
              evaluateRetrieval({ ...subject, task: textNeedle(tokenizer), haystack: tokenizer.encode(text), lengths, depths, trials }),
            )
          : undefined
        const report: EvalReport = {
          createdAt: new Date().toISOString(),
          version: packageVersion(),
          machine: machine(),
          backend: backend.name,
          device: backend.device,
          model: folder,
          phsa: model.phsa,
          files,
          windows,
          tokens,
          seed,
          selections,
          ...(retrieval ? { retrieval } : {}),
        }
        if (out !== undefined) await writeWholeFile(out, reportJson(report))
        process.stdout.write(
          options.json ? reportJson(report) : `${evaluationText(report)}\n${out === undefined ? '' : `\nresults in ${out}\n`}`,
        )
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
