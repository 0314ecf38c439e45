import { availableParallelism } from 'node:os'
import { type CorpusProgress, DocumentReader, type TokenizeCorpusOptions, type TokenizedCorpus, tokenizeCorpus } from '@phsa/trainer'
import { formatCount } from '../terminal/format.js'
import { type Progress, startProgress } from '../terminal/progress.js'
import { UsageError } from '../usage-error.js'
import { EncoderProcesses } from './encoder-processes.js'

/** Milliseconds between two looks at the progress: of small documents there are thousands a second. */
const LOOK_EVERY = 100

/** Milliseconds of hashing that are not worth a line. */
const HASHING_UNSEEN = 2000

const KIB = 1024

/** Bytes of sources, for each process: below, starting it would take as long as its work. */
const WORTH_A_PROCESS = 2 ** 22

/** More are only taken where they are asked for: each has a tokenizer of its own, which for a large vocabulary takes some hundred MB. */
const USUAL_PROCESSES = 8

/** What is tokenized, and in how many processes. */
export interface TokenizeSourcesOptions extends Omit<TokenizeCorpusOptions, 'onProgress' | 'encoder'> {
  /** Where the processes read the tokenizer. */
  readonly tokenizerFolder: string
  /** 1 for this one alone. Default: one a core, up to 8, where the sources are large enough. */
  readonly workers?: number
}

/** Tokenizes sources into a folder behind a progress bar, which counts KiB of the files. @throws what `tokenizeCorpus` throws */
export async function tokenizeSources({ tokenizerFolder, workers, ...options }: TokenizeSourcesOptions): Promise<TokenizedCorpus> {
  const count = workers ?? (await usualWorkers(options))
  const encoder = count > 1 ? new EncoderProcesses(tokenizerFolder, count) : undefined
  const { signal } = options
  // A long document would otherwise be waited for.
  const interrupt = () => encoder?.stop(signal?.reason)
  signal?.addEventListener('abort', interrupt)
  let bar: { stage: string; progress: Progress } | undefined
  let last: CorpusProgress | undefined
  const started = performance.now()
  let shownAt = started
  const show = (event: CorpusProgress) => {
    if (bar?.stage !== event.stage) {
      bar?.progress.stop()
      bar = { stage: event.stage, progress: startProgress({ label: event.stage, total: Math.ceil(event.totalBytes / KIB), unit: 'KiB' }) }
    }
    bar.progress.update(Math.ceil(event.doneBytes / KIB), event.stage === 'tokenizing' ? describe(event) : '')
    shownAt = performance.now()
    last = undefined
  }
  try {
    return await tokenizeCorpus({
      ...options,
      ...(encoder ? { encoder } : {}),
      onProgress: (event) => {
        last = event
        if (event.stage === 'hashing' && performance.now() - started < HASHING_UNSEEN) return
        if (performance.now() - shownAt >= LOOK_EVERY) show(event)
      },
    })
  } finally {
    if (last?.stage === 'tokenizing') show(last)
    bar?.progress.stop()
    signal?.removeEventListener('abort', interrupt)
    encoder?.stop(new UsageError('tokenizing has ended.'))
  }
}

async function usualWorkers({ sources, split }: Pick<TokenizeCorpusOptions, 'sources' | 'split'>): Promise<number> {
  const { totalBytes } = await DocumentReader.open(sources, { split })
  return Math.min(USUAL_PROCESSES, availableParallelism(), Math.floor(totalBytes / WORTH_A_PROCESS))
}

function describe({ tokens, tokensPerSecond, badRecords }: CorpusProgress): string {
  const bad = badRecords === 0 ? '' : ` | ${formatCount(badRecords)} bad record${badRecords === 1 ? '' : 's'}`
  return `${formatCount(tokens)} tokens | ${formatCount(tokensPerSecond)} tokens/s${bad}`
}
