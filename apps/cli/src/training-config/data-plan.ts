import { basename, join } from 'node:path'
import { DocumentReader, isTokenizedCorpus, readManifest } from '@phsa/trainer'
import { UsageError } from '../usage-error.js'
import type { TrainConfig } from './train-config.js'
import type { ModelPlan } from './train-plan.js'

/** Characters of a source that are read to see whether it can be, and how much there is. */
const READ = 2 ** 20
/** Characters of these that are tokenized, to see how many tokens that makes. */
const TOKENIZED = 2 ** 16

/** A source with all of its settings. */
export interface NamedSource {
  readonly name: string
  readonly paths: readonly string[]
  readonly weight: number | undefined
  readonly textField: string
  readonly split: string
  readonly badRecords: 'skip' | 'fail'
  /** Folder for its tokens, where it is not tokenized already. */
  readonly tokensFolder: string
}

/** A source that was looked into. */
export interface DataSource extends NamedSource {
  /** Whether it is a folder of tokens. */
  readonly isTokenized: boolean
  /** Of one epoch, counted for a tokenized source and estimated from its beginning otherwise. */
  readonly tokens: number
}

/** Sources with names, which the default makes unique by a number. */
export function namedSources({ sources, tokens, badRecords }: TrainConfig['data']): NamedSource[] {
  const taken = new Set<string>()
  return sources.map((given) => {
    const source =
      typeof given === 'string' ? { path: given, textField: 'text', split: 'train', name: undefined, weight: undefined } : given
    const { path, weight, textField, split } = source
    const paths = typeof path === 'string' ? [path] : path
    const name = source.name ?? freeName(basename(paths[0]), taken)
    if (taken.has(name)) throw new UsageError(`data.sources has two sources called ${name}; give each a name of its own.`)
    taken.add(name)
    return { name, paths, weight, textField, split, badRecords, tokensFolder: join(tokens ?? 'tokens', name) }
  })
}

/** @throws UsageError where some sources have a weight and others none */
export function requireOneWeighting(sources: readonly NamedSource[]): readonly NamedSource[] {
  const weighted = sources.filter(({ weight }) => weight !== undefined)
  if (weighted.length === 0 || weighted.length === sources.length) return sources
  throw new UsageError('some of data.sources have a weight and others none; give each a weight, or none.')
}

/**
 * Looks into a source: finds its files and reads the beginning, or the manifest of tokens.
 * @param model undefined where it could not be planned: then only reading is tried
 * @throws UsageError for tokens of another tokenizer; what opening the source throws
 */
export async function planSource(source: NamedSource, model: ModelPlan | undefined): Promise<DataSource> {
  const [path] = source.paths
  if (source.paths.length === 1 && (await isTokenizedCorpus(path))) {
    const manifest = await readManifest(path)
    if (model && manifest.tokenizer !== model.tokenizerIdentity) {
      throw new UsageError(
        `${path} was tokenized with another tokenizer than ${model.tokenizerFolder} has; tokenize it again with this one, or use the model that it was made for.`,
      )
    }
    return { ...source, isTokenized: true, tokens: manifest.tokens }
  }
  return { ...source, isTokenized: false, tokens: await sampleTokens(source, model) }
}

async function sampleTokens({ paths, textField, split, badRecords }: NamedSource, model: ModelPlan | undefined): Promise<number> {
  const reader = await DocumentReader.open(paths, { textField, split, onBadRecord: badRecords })
  let characters = 0
  let sample = ''
  for await (const { text } of reader) {
    characters += text.length
    if (sample.length < TOKENIZED) sample += text.slice(0, TOKENIZED - sample.length)
    if (characters >= READ) break
  }
  if (characters === 0) throw reader.emptyError()
  const tokensPerCharacter = model ? model.tokenizer.encode(sample).length / sample.length : 0
  return Math.round((tokensPerCharacter * characters * reader.totalBytes) / Math.max(1, reader.doneBytes))
}

function freeName(path: string, taken: ReadonlySet<string>): string {
  const name = path.replace(/\..*$/, '').replace(/[^\w-]/g, '-') || 'text'
  let free = name
  for (let number = 2; taken.has(free); number++) free = `${name}-${number}`
  return free
}
