import type { DType, PolicyName } from '@phsa/core'
import {
  type ChoiceFile,
  evaluateChoices,
  evaluatePositions,
  evaluateRetrieval,
  evaluateSelections,
  heldOutBatches,
  textNeedle,
} from '@phsa/trainer'
import { withBackend } from '../backends.js'
import type { EvalReport, ScoredChoices } from '../evaluation/eval-report.js'
import { evaluationText } from '../evaluation/evaluation-text.js'
import { followChoices, followPositions, followRetrieval, followSelections } from '../evaluation/follow-evaluation.js'
import { readChoices } from '../evaluation/read-choices.js'
import { ExitCode } from '../exit-code.js'
import { prepareFile } from '../files/prepare-folder.js'
import { writeWholeFile } from '../files/write-whole-file.js'
import { interruptible } from '../interruption.js'
import { loadTextModel, type TextModel } from '../load-text-model.js'
import { machine } from '../machine.js'
import { packageVersion } from '../package-version.js'
import { readText } from '../read-text.js'
import { evaluationPage } from '../report/evaluation-page.js'
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
  readonly positions?: boolean
  readonly heads?: boolean
  readonly choices?: readonly string[]
  readonly seed: number
  readonly backend?: string
  readonly dtype?: DType
  readonly out?: string
  readonly html?: string
  readonly json?: boolean
  /** Whether nothing is printed: the results are in files. */
  readonly silent?: boolean
}

/** Measures a model folder by policy and budget on text that it was not trained on, and on multiple-choice questions. */
export async function runEval(files: readonly string[], options: EvalOptions): Promise<ExitCode> {
  const { out, html, choices: choiceFiles = [] } = options
  if (files.length === 0 && choiceFiles.length === 0)
    throw new UsageError('there is nothing to measure on; give text files, or --choices FILE.')
  if (files.length === 0 && (options.needle || options.positions))
    throw new UsageError('--needle and --positions measure on a text; give text files.')
  for (const path of [out, html]) if (path !== undefined) await prepareFile(path)
  const text = (await Promise.all(files.map(readText))).join('\n\n\n')
  const choices = await Promise.all(choiceFiles.map(async (file) => ({ file, ...(await readChoices(file)) })))
  return interruptible((interruption) =>
    withBackend(options.backend, async (backend) => {
      const loaded = await loadTextModel(options.model, { backend, dtype: options.dtype })
      try {
        const subject = { ...loaded, policies: options.policies, topKs: options.topK, seed: options.seed, signal: interruption.signal }
        const report: EvalReport = {
          createdAt: new Date().toISOString(),
          version: packageVersion(),
          machine: machine(),
          backend: backend.name,
          device: backend.device,
          model: options.model,
          phsa: loaded.model.phsa,
          files,
          windows: options.windows,
          tokens: options.tokens,
          seed: options.seed,
          ...(files.length > 0 ? await measureText(text, subject, options) : { selections: [] }),
          ...(choices.length > 0 ? { choices: await scoreChoices(choices, subject) } : {}),
        }
        if (out !== undefined) await writeWholeFile(out, reportJson(report))
        if (html !== undefined) await writeWholeFile(html, evaluationPage(report))
        const written = [out, html].filter((path) => path !== undefined)
        const note = written.length > 0 ? `\nresults in ${written.join(' and ')}\n` : ''
        if (!options.silent)
          process.stdout.write(options.json ? reportJson(report) : `${evaluationText({ ...report, heads: options.heads })}\n${note}`)
        return ExitCode.ok
      } catch (error) {
        if (!interruption.caused(error)) throw error
        process.stderr.write('interrupted; nothing was written\n')
        return ExitCode.interrupted
      } finally {
        loaded.model.dispose()
      }
    }),
  )
}

/** The model, and what every measurement compares it by. */
type Subject = TextModel & {
  readonly policies: readonly PolicyName[]
  readonly topKs: readonly number[]
  readonly seed: number
  readonly signal: AbortSignal
}

async function measureText(
  text: string,
  subject: Subject,
  options: EvalOptions,
): Promise<Pick<EvalReport, 'selections' | 'positions' | 'retrieval'>> {
  const { windows, tokens, seed, needle, needleLengths: lengths = [tokens], depths, trials } = options
  const { tokenizer, punctuation } = subject
  const data = await tokenizeText(text, tokenizer)
  if (data.totalTokens < windows * tokens) {
    throw new UsageError(
      `the text has ${data.totalTokens} tokens; ${windows} windows of ${tokens} need ${windows * tokens}. Give more text, fewer --windows or fewer --tokens.`,
    )
  }
  const batches = heldOutBatches(data, { windows, tokens, punctuation, seed })
  const selections = await followSelections('evaluating', evaluateSelections({ ...subject, batches }))
  const positions = options.positions ? await followPositions(evaluatePositions({ ...subject, batches })) : undefined
  const prompts = { task: textNeedle(tokenizer), haystack: tokenizer.encode(text), lengths, depths, trials }
  const retrieval = needle ? await followRetrieval(evaluateRetrieval({ ...subject, ...prompts })) : undefined
  return { selections, ...(positions ? { positions } : {}), ...(retrieval ? { retrieval } : {}) }
}

async function scoreChoices(files: readonly (ChoiceFile & { readonly file: string })[], subject: Subject): Promise<ScoredChoices[]> {
  const scored: ScoredChoices[] = []
  for (const { file, records, faults } of files) {
    const result = await followChoices(evaluateChoices({ ...subject, records }))
    const all = [...faults, ...result.faults].sort((left, right) => left.line - right.line)
    scored.push({ file, ...result, faults: all })
  }
  return scored
}
