import { InvalidFileError, inWords, MAX_TOKEN_IDS } from '@phsa/core'
import { isRecord } from './is-record.js'

/** A tokenizer.json whose parts are of the types that @huggingface/tokenizers takes for granted. */
export interface TokenizerFile extends Record<string, unknown> {
  readonly model: Readonly<Record<string, unknown>>
  readonly added_tokens: readonly AddedToken[]
}

interface AddedToken {
  readonly id: number
  readonly content: string
}

const MODEL_TYPES: readonly unknown[] = ['BPE', 'Unigram', 'WordPiece']

/** Text settings of the parts, wherever they are; the library calls methods of strings on them. */
const TEXTS = [
  'content',
  'prepend',
  'replacement',
  'str_rep',
  'prefix',
  'suffix',
  'continuing_subword_prefix',
  'continuing_subword_suffix',
  'end_of_word_suffix',
  'unk_token',
  'behavior',
]

/** Settings that count characters. With others the library would not come to an end. */
const COUNTS = ['length', 'max_input_chars_per_word', 'start', 'stop']

/** Most characters that a count may say. */
const MAX_COUNT = 2 ** 16

/**
 * Checks what @huggingface/tokenizers does not: it would run out of memory or time on a damaged file, or give ids that are none.
 * @param json parsed tokenizer.json
 * @returns the same, as a list of added tokens the empty one where there is none
 * @throws InvalidFileError naming the part
 */
export function requireTokenizerFile(json: unknown, label: string): TokenizerFile {
  if (!isRecord(json) || !isRecord(json.model)) {
    throw new InvalidFileError(`${label}: it holds no tokenizer; a JSON object with "model" is needed.`)
  }
  const fault = (what: string) => new InvalidFileError(`${label}: ${what}; the file is damaged.`)
  requireVocabulary(json.model, fault)
  const added = requireAddedTokens(json.added_tokens ?? [], fault)
  for (const name of ['normalizer', 'pre_tokenizer', 'post_processor', 'decoder', 'model']) requirePart(name, json[name] ?? null, fault)
  // The library asks for these parts to be there.
  const absent = { normalizer: null, pre_tokenizer: null, post_processor: null, decoder: null }
  return { ...absent, ...json, model: json.model, added_tokens: added }
}

/** Size of the vocabulary: one more than the largest id. */
export function vocabularySize({ model, added_tokens }: TokenizerFile): number {
  const { vocab } = model
  const ids = Array.isArray(vocab) ? [vocab.length - 1] : Object.values(vocab as Record<string, number>)
  return [...ids, ...added_tokens.map(({ id }) => id)].reduce((size, id) => Math.max(size, id + 1), 0)
}

type Fault = (what: string) => InvalidFileError

function requireVocabulary({ vocab, merges, unk_token, unk_id, type }: Record<string, unknown>, fault: Fault): void {
  if (type !== undefined && !MODEL_TYPES.includes(type)) throw fault(`model.type is ${inWords(type)}; known are ${MODEL_TYPES.join(', ')}`)
  if (Array.isArray(vocab) !== (type === 'Unigram') && type !== undefined) {
    throw fault(
      `model.type is ${inWords(type)}, and model.vocab ${Array.isArray(vocab) ? 'is a list' : 'is no list'}; Unigram has one, the others have { piece: id }`,
    )
  }
  if (Array.isArray(vocab)) {
    const bad: unknown = vocab.find((entry) => !(Array.isArray(entry) && typeof entry[0] === 'string' && typeof entry[1] === 'number'))
    if (bad !== undefined) throw fault(`model.vocab has ${inWords(bad)}; each entry is a piece and its score`)
    if (!isId(unk_id) || unk_id >= vocab.length) throw fault(`model.unk_id is ${inWords(unk_id)}; it must be an index of model.vocab`)
    return
  }
  if (!isRecord(vocab)) throw fault('model.vocab is neither { piece: id } nor a list of [piece, score]')
  for (const [piece, id] of Object.entries(vocab)) {
    if (!isId(id)) throw fault(`model.vocab gives ${inWords(piece)} the id ${inWords(id)}; ids are integers from 0 to ${MAX_TOKEN_IDS - 1}`)
  }
  if (unk_token !== undefined && unk_token !== null && !(typeof unk_token === 'string' && Object.hasOwn(vocab, unk_token))) {
    throw fault(`model.unk_token is ${inWords(unk_token)}, which is not in model.vocab`)
  }
  if (type === 'WordPiece' || (type === undefined && merges === undefined)) return
  if (!Array.isArray(merges)) throw fault(`model.merges is ${inWords(merges)}; it must be the list of merges`)
  const bad: unknown = merges.find((merge) => !isMerge(merge))
  if (bad !== undefined) throw fault(`model.merges has ${inWords(bad)}; a merge is two pieces, as a list or with a blank between`)
}

function requireAddedTokens(list: unknown, fault: Fault): AddedToken[] {
  if (!Array.isArray(list)) throw fault(`added_tokens is ${inWords(list)}; it must be a list`)
  for (const [index, token] of list.entries()) {
    if (isRecord(token) && isId(token.id) && typeof token.content === 'string' && token.content !== '') continue
    throw fault(`added_tokens[${index}] is ${inWords(token)}; it needs an id from 0 to ${MAX_TOKEN_IDS - 1} and a content`)
  }
  return list as AddedToken[]
}

/** A part is null or an object; what lies in its lists are parts too. Depth is bounded by whoever read the file. */
function requirePart(name: string, part: unknown, fault: Fault): void {
  if (part === null) return
  if (!isRecord(part)) throw fault(`${name} is ${inWords(part)}; it must be an object or null`)
  // The type of a model may be left open.
  if (typeof part.type !== 'string' && !(name === 'model' && part.type === undefined)) {
    throw fault(`${name}.type is ${inWords(part.type)}; it must be a name`)
  }
  for (const setting of TEXTS) {
    const value = part[setting] ?? ''
    if (typeof value !== 'string') throw fault(`${name}.${setting} is ${inWords(value)}; it must be text`)
  }
  for (const setting of COUNTS) {
    const value = part[setting] ?? 0
    const least = setting === 'length' && setting in part ? 1 : 0
    if (!Number.isInteger(value) || (value as number) < least || (value as number) > MAX_COUNT) {
      throw fault(`${name}.${setting} is ${inWords(value)}; it must be an integer from ${least} to ${MAX_COUNT}`)
    }
  }
  if (part.type === 'Split' || part.type === 'Replace') requirePattern(`${name}.pattern`, part.pattern, fault)
  for (const setting of ['normalizers', 'pretokenizers', 'processors', 'decoders']) {
    const parts = part[setting] ?? []
    if (!Array.isArray(parts)) throw fault(`${name}.${setting} is ${inWords(parts)}; it must be a list`)
    for (const [index, entry] of parts.entries()) requirePart(`${name}.${setting}[${index}]`, entry, fault)
  }
}

/** Without one the library would say so on the console, and then drop the text. */
function requirePattern(name: string, pattern: unknown, fault: Fault): void {
  if (isRecord(pattern) && typeof (pattern.Regex ?? pattern.String) === 'string') return
  throw fault(`${name} is ${inWords(pattern)}; it must be { String } or { Regex }`)
}

function isId(value: unknown): value is number {
  return Number.isInteger(value) && (value as number) >= 0 && (value as number) < MAX_TOKEN_IDS
}

function isMerge(merge: unknown): boolean {
  if (typeof merge === 'string') return merge.split(' ').length === 2
  return Array.isArray(merge) && merge.length === 2 && merge.every((piece) => typeof piece === 'string')
}
