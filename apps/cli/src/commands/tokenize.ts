import { PunctuationTable } from '@phsa/core'
import { describePosition, type TokenizedCorpus, tokenizerIdentity } from '@phsa/trainer'
import { ExitCode } from '../exit-code.js'
import { interruptible } from '../interruption.js'
import { openTokenizer } from '../open-tokenizer.js'
import { reportJson } from '../report-json.js'
import { formatBytes, formatCount } from '../terminal/format.js'
import { tokenizeSources } from '../training/tokenize-sources.js'

export interface TokenizeCommandOptions {
  readonly tokenizer?: string
  readonly out: string
  readonly textField: string
  readonly split: string
  readonly onBadRecord: 'skip' | 'fail'
  readonly workers?: number
  readonly json?: boolean
}

/** Tokenizes files and dataset folders once, into shards that `phsa train` reads. */
export async function runTokenize(sources: readonly string[], options: TokenizeCommandOptions): Promise<ExitCode> {
  const { tokenizer, folder } = await openTokenizer(options.tokenizer)
  return interruptible(async (interruption) => {
    try {
      const corpus = await tokenizeSources({
        sources,
        out: options.out,
        tokenizer,
        tokenizerFolder: folder,
        workers: options.workers,
        tokenizerIdentity: await tokenizerIdentity(folder),
        punctuation: PunctuationTable.fromTokenizer(tokenizer.json),
        textField: options.textField,
        split: options.split,
        onBadRecord: options.onBadRecord,
        signal: interruption.signal,
      })
      process.stdout.write(options.json ? reportJson(summary(corpus)) : description(corpus))
      return ExitCode.ok
    } catch (error) {
      if (!interruption.caused(error)) throw error
      process.stderr.write(`interrupted; nothing was left in ${options.out}. Run the same command to start again.\n`)
      return ExitCode.interrupted
    }
  })
}

function summary({ folder, manifest, reused }: TokenizedCorpus) {
  const { documents, tokens, dtype, largestId, separatorId, tokenizer, badRecords, sources, shards } = manifest
  const [files, bytes] = [sources.length, shardBytes({ folder, manifest, reused })]
  return { folder, reused, documents, tokens, dtype, largestId, separatorId, tokenizer, files, shards: shards.length, bytes, badRecords }
}

function description(corpus: TokenizedCorpus): string {
  const { folder, manifest, reused } = corpus
  const { documents, tokens, shards, badRecords } = manifest
  const found = reused ? ', which were there already' : ''
  const count = (number: number, what: string) => `${formatCount(number)} ${what}${number === 1 ? '' : 's'}`
  const size = `${formatBytes(shardBytes(corpus))} in ${count(shards.length, 'shard')}`
  const lines = [`${formatCount(tokens)} tokens of ${count(documents, 'document')}${found}; ${size} in ${folder}`]
  if (badRecords.count > 0) {
    lines.push(`left out, being no documents: ${formatCount(badRecords.count)}`)
    for (const { position, reason } of badRecords.listed) lines.push(`  ${describePosition(position)}: ${reason}`)
    const more = badRecords.count - badRecords.listed.length
    if (more > 0) lines.push(`  and ${formatCount(more)} more`)
  }
  return `${lines.join('\n')}\n`
}

function shardBytes({ manifest }: TokenizedCorpus): number {
  return manifest.shards.reduce((sum, { tokens, lengths }) => sum + tokens.bytes + lengths.bytes, 0)
}
