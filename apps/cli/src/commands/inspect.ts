import { basename, extname } from 'node:path'
import { meanPoolPolicy, PunctuationTable, phsaConfig, phsaPolicy } from '@phsa/core'
import { loadModel, type TextTokenizer } from '@phsa/model'
import { withBackend } from '../backends.js'
import { ExitCode } from '../exit-code.js'
import { prepareFile } from '../files/prepare-folder.js'
import { writeWholeFile } from '../files/write-whole-file.js'
import { describePassage } from '../inspect/describe-passage.js'
import { passageText } from '../inspect/passage-text.js'
import { selectInPassage } from '../inspect/select-in-passage.js'
import { openTokenizer } from '../open-tokenizer.js'
import { readText } from '../read-text.js'
import { blockGrid } from '../report/block-grid.js'
import { inspectPage, NO_MODEL } from '../report/inspect-page.js'
import type { PassageMap } from '../report/passage-map.js'
import { reportJson } from '../report-json.js'
import { UsageError } from '../usage-error.js'

export interface InspectOptions {
  readonly tokenizer?: string
  readonly model?: string
  readonly query?: number
  readonly layer?: number
  readonly kvHead: number
  readonly topK?: number
  readonly maxTokens: number
  readonly out?: string
  readonly backend?: string
  readonly json?: boolean
}

/** Shows a text's blocks, and with a model what a query selects. */
export async function runInspect(file: string, options: InspectOptions): Promise<ExitCode> {
  const { out } = options
  if (out !== undefined && !['.html', '.svg'].includes(extname(out))) {
    throw new UsageError(`--out ${out} is neither .html nor .svg; give a file name that ends in one of them.`)
  }
  const text = await readText(file)
  if (out !== undefined) await prepareFile(out)
  const passage = options.model === undefined ? await inspectText(text, options) : await inspectWithModel(text, options, options.model)
  if (out !== undefined) await writeWholeFile(out, picture(basename(file), passage, extname(out)))
  if (options.json) process.stdout.write(reportJson(passage))
  else process.stdout.write(out === undefined ? `${passageText(passage)}\n` : `wrote ${out}\n`)
  if (options.model === undefined) process.stderr.write(`${NO_MODEL}\n`)
  return ExitCode.ok
}

function picture(title: string, passage: PassageMap, kind: string): string {
  return kind === '.svg' ? `<?xml version="1.0" encoding="UTF-8"?>\n${blockGrid(passage)}\n` : inspectPage(title, passage)
}

async function inspectText(text: string, options: InspectOptions): Promise<PassageMap> {
  const { tokenizer } = await openTokenizer(options.tokenizer)
  const { ids, query } = tokensOf(text, tokenizer, options)
  const phsa = phsaConfig({ topK: options.topK })
  return describePassage(ids, { tokenizer, punctuation: PunctuationTable.fromTokenizer(tokenizer.json), phsa, query })
}

function inspectWithModel(text: string, options: InspectOptions, folder: string): Promise<PassageMap> {
  return withBackend(options.backend, async (backend) => {
    const { model, ...loaded } = await loadModel(folder, { backend })
    try {
      const { config, phsa } = model
      const tokenizer = options.tokenizer === undefined ? loaded.tokenizer : (await openTokenizer(options.tokenizer)).tokenizer
      if (!tokenizer) throw new UsageError(`${folder} has no tokenizer.json; give --tokenizer.`)
      const punctuation = PunctuationTable.fromTokenizer(tokenizer.json)
      const { layer = Math.floor(config.layers / 2), kvHead, topK = phsa.topK } = options
      requireBelow('--layer', layer, config.layers)
      requireBelow('--kv-head', kvHead, config.kvHeads)
      const { ids, query } = tokensOf(text, tokenizer, options, config.maxPositions)
      const passage = describePassage(ids, { tokenizer, punctuation, phsa, query })
      const policies = [phsaPolicy, meanPoolPolicy]
      return await selectInPassage(passage, {
        model,
        punctuation,
        ids,
        policies,
        layer,
        kvHead,
        topK,
        queries: sampleQueries(query, phsa.blockSize),
      })
    } finally {
      model.dispose()
    }
  })
}

/** Every half block up to the query, and the query itself: enough for a map, few enough to draw. */
function sampleQueries(query: number, blockSize: number): number[] {
  const step = Math.max(1, Math.floor(blockSize / 2))
  const before = Array.from({ length: Math.ceil(query / step) }, (_, index) => index * step)
  return [...before, query]
}

function tokensOf(
  text: string,
  tokenizer: TextTokenizer,
  { maxTokens, query }: InspectOptions,
  most = maxTokens,
): { ids: Int32Array; query: number } {
  const all = tokenizer.encode(text)
  const ids = all.subarray(0, Math.min(maxTokens, most))
  if (ids.length < all.length) process.stderr.write(`showing the first ${ids.length} of ${all.length} tokens (--max-tokens)\n`)
  const chosen = query ?? ids.length - 1
  requireBelow('--query', chosen, ids.length)
  return { ids, query: chosen }
}

function requireBelow(option: string, value: number, limit: number): void {
  if (value < limit) return
  throw new UsageError(`${option} is ${value}; there are ${limit} here, so it must be from 0 to ${limit - 1}.`)
}
