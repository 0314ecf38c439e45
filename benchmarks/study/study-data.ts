import { copyFileSync, existsSync, mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { InvalidFileError, PunctuationTable } from '@phsa/core'
import { TextTokenizer } from '@phsa/model'
import {
  type NeedleTask,
  needleRows,
  ShardedDataset,
  type TrainingData,
  textNeedle,
  tokenizeCorpus,
  tokenizerIdentity,
} from '@phsa/trainer'
import type { StudyConfig } from './study-config.js'

/** What a study reads. */
export interface StudyData {
  /** Text with facts in it that are asked for. */
  readonly train: TrainingData
  /** Held-out text without any. */
  readonly valid: TrainingData
  /** Tokens of held-out text, to hide facts in. */
  readonly haystack: Int32Array
  readonly task: NeedleTask
  readonly punctuation: PunctuationTable
  /** SHA-256 of the texts, where they are known. */
  readonly sources: readonly { readonly name: string; readonly sha256: string }[]
}

/** Ids of a file of tokens: 14 MB. */
const SHARD_TOKENS = 7_000_000
const TOKENIZER_FILE = 'tokenizer.json'

/** Tokenizes the two texts into a folder that `openStudyData` reads; what is there already stays. */
export async function prepareStudyData(train: string, valid: string, tokenizerFolder: string, out: string): Promise<void> {
  mkdirSync(out, { recursive: true })
  const file = join(out, TOKENIZER_FILE)
  copyFileSync(join(tokenizerFolder, TOKENIZER_FILE), file)
  const tokenizer = await TextTokenizer.fromFolder(out)
  const identity = await tokenizerIdentity(file)
  for (const [name, source] of Object.entries({ train, valid })) {
    const options = { sources: [source], out: join(out, name), tokenizer, tokenizerIdentity: identity, shardTokens: SHARD_TOKENS }
    const { manifest } = await tokenizeCorpus({ ...options, punctuation: PunctuationTable.fromTokenizer(tokenizer.json) })
    console.log(`${name}: ${manifest.tokens} tokens of ${manifest.documents} documents`)
  }
}

/** Opens what `prepareStudyData` wrote. @throws InvalidFileError where it is not there, or damaged */
export async function openStudyData(folder: string, { needles }: Pick<StudyConfig, 'needles'>): Promise<StudyData> {
  if (!existsSync(join(folder, TOKENIZER_FILE))) {
    throw new InvalidFileError(`${folder} has no data of a study; make it with: study prepare TRAIN.txt VALID.txt --data ${folder}`)
  }
  const tokenizer = await TextTokenizer.fromFolder(folder)
  const punctuation = PunctuationTable.fromTokenizer(tokenizer.json)
  const options = { tokenizer: await tokenizerIdentity(join(folder, TOKENIZER_FILE)), punctuation }
  const text = await ShardedDataset.open(join(folder, 'train'), options)
  const valid = await ShardedDataset.open(join(folder, 'valid'), options)
  const task = textNeedle(tokenizer)
  const sources = [text, valid].flatMap(({ manifest }) => manifest.sources.map(({ name, sha256 }) => ({ name, sha256 })))
  return { train: needleRows({ ...needles, data: text, task }), valid, haystack: haystackOf(valid), task, punctuation, sources }
}

/** All held-out tokens, in the order of seed 0. */
function haystackOf(valid: ShardedDataset): Int32Array {
  const { sequences } = valid.rows({ sequenceTokens: valid.totalTokens, seed: 0 }).row(0)
  return Int32Array.from(sequences.flatMap((sequence) => Array.from(sequence)))
}
