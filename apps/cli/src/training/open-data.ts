import { setTimeout } from 'node:timers/promises'
import { describePosition, isTokenizedCorpus, mixtureOf, ShardedDataset, type TrainingData } from '@phsa/trainer'
import { formatCount } from '../terminal/format.js'
import type { DataSource } from '../training-config/data-plan.js'
import type { TrainPlan } from '../training-config/train-plan.js'
import { tokenizeSources } from './tokenize-sources.js'

/** The data of a run, on disk; close it when the run ends. */
export interface OpenData {
  readonly data: TrainingData
  /** Of one epoch of each source. */
  readonly tokens: number
  /** Records that were no documents, for people; undefined where there were none. */
  readonly badRecords: string | undefined
  close(): void
}

/** Milliseconds between two looks for what the first process tokenizes. */
const PATIENCE = 500

/**
 * Tokenizes what is not tokenized yet, behind a progress bar, and opens all of it.
 * @param isFirst whether this process is the one that tokenizes; others wait for it, and need to see the same folder
 * @throws what `tokenizeCorpus` and `ShardedDataset.open` throw; the signal's reason
 */
export async function openData(plan: TrainPlan, signal: AbortSignal, isFirst = true): Promise<OpenData> {
  const opened: { source: DataSource; data: ShardedDataset }[] = []
  const close = () => {
    for (const { data } of opened) data.close()
  }
  try {
    for (const source of plan.sources) opened.push({ source, data: await openSource(source, plan, signal, isFirst) })
    const parts = opened.map(({ source: { name, weight }, data }) => ({ name, data, weight: weight ?? data.totalTokens }))
    return {
      data: opened.length === 1 ? opened[0].data : mixtureOf(parts),
      tokens: parts.reduce((sum, { data }) => sum + data.totalTokens, 0),
      badRecords: describeBadRecords(opened.map(({ data }) => data)),
      close,
    }
  } catch (error) {
    close()
    throw error
  }
}

async function openSource(source: DataSource, { model }: TrainPlan, signal: AbortSignal, isFirst: boolean): Promise<ShardedDataset> {
  const { tokenizer, tokenizerFolder, tokenizerIdentity, punctuation } = model
  const open = (folder: string, verify: boolean) => ShardedDataset.open(folder, { tokenizer: tokenizerIdentity, verify, signal })
  if (source.isTokenized) return open(source.paths[0], isFirst)
  while (!isFirst && !(await isTokenizedCorpus(source.tokensFolder))) {
    signal.throwIfAborted()
    await setTimeout(PATIENCE)
  }
  const { folder, reused } = await tokenizeSources({
    sources: source.paths,
    out: source.tokensFolder,
    textField: source.textField,
    split: source.split,
    onBadRecord: source.badRecords,
    tokenizer,
    tokenizerFolder,
    tokenizerIdentity,
    punctuation,
    signal,
  })
  return open(folder, reused && isFirst)
}

function describeBadRecords(parts: readonly ShardedDataset[]): string | undefined {
  const reports = parts.map(({ manifest }) => manifest.badRecords)
  const count = reports.reduce((sum, report) => sum + report.count, 0)
  if (count === 0) return undefined
  const [{ position, reason }] = reports.flatMap(({ listed }) => listed)
  const records = count === 1 ? '1 record is no document and was' : `${formatCount(count)} records are no documents and were`
  return `${records} left out, the first in ${describePosition(position)}: ${reason}`
}
