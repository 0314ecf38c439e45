import { InvalidConfigError } from './errors/invalid-config-error.js'
import { inWords } from './in-words.js'

/** What one token id stands for. */
export interface VocabularyToken {
  readonly id: number
  /** The text that it decodes to on its own; absent where its bytes are not valid UTF-8 by themselves. */
  readonly text?: string
  /** Control, unknown or padding token: never part of the text. */
  readonly special: boolean
}

/** Ids are below this: 64 times the largest vocabulary in use; a larger one is damage, and tables by id would be allocated for it. */
export const MAX_TOKEN_IDS = 2 ** 24

/** Decoders of a tokenizer.json that lie inside of each other. */
const MAX_DECODER_DEPTH = 8

/**
 * Every token of a parsed Hugging Face tokenizer.json with its text (spec 2), sorted by id. Reads byte-level BPE, sentencepiece-style
 * pieces with byte fallback, WordPiece and word-end suffixes, as `decoder` says; without a decoder a piece is its text.
 * @throws InvalidConfigError naming the part that is missing or not understood
 */
export function decodeVocabulary(tokenizer: unknown): VocabularyToken[] {
  const root = requireRecord('tokenizer', tokenizer, 'pass the parsed contents of tokenizer.json')
  const model = requireRecord(
    'model',
    root.model,
    'tokenizer.json of Hugging Face tokenizers has one; an older vocab.json must be converted first',
  )
  const decode = decoderOf(root.decoder)
  const never = unwrittenIds(root, model)
  const tokens = new Map<number, VocabularyToken>()
  for (const [piece, id] of pieces(model)) tokens.set(id, { id, text: decode(piece), special: never.has(id) || piece === model.unk_token })
  for (const { id, content, special } of addedTokens(root)) tokens.set(id, { id, text: content, special: special || never.has(id) })
  return [...tokens.values()].sort((left, right) => left.id - right.id)
}

type JsonRecord = { readonly [name: string]: unknown }
/** Text of a piece, or undefined where its bytes are no valid UTF-8 alone. */
type PieceDecoder = (piece: string) => string | undefined

/** BPE and WordPiece keep { piece: id }, Unigram a list of [piece, score] whose index is the id. */
function pieces(model: JsonRecord): [string, number][] {
  const { vocab } = model
  const entries: [unknown, unknown][] = Array.isArray(vocab)
    ? vocab.map((entry, id) => [Array.isArray(entry) ? entry[0] : entry, id])
    : Object.entries(requireRecord('model.vocab', vocab, 'it holds { piece: id } or a list of [piece, score]'))
  for (const [piece, id] of entries) {
    if (typeof piece !== 'string' || !isTokenId(id)) {
      throw new InvalidConfigError(
        'model.vocab',
        `model.vocab maps ${inWords(piece)} to ${inWords(id)}; each entry is a piece and its id, an integer below ${MAX_TOKEN_IDS}.`,
      )
    }
  }
  return entries as [string, number][]
}

function addedTokens(root: JsonRecord): { id: number; content: string; special: boolean }[] {
  const list = root.added_tokens ?? []
  if (!Array.isArray(list))
    throw new InvalidConfigError('added_tokens', 'added_tokens is not a list; tokenizer.json keeps { id, content, special } in it.')
  return list.map((entry, index) => {
    const { id, content, special } = requireRecord(`added_tokens[${index}]`, entry, 'it holds id, content and special')
    if (!isTokenId(id) || typeof content !== 'string') {
      throw new InvalidConfigError(
        'added_tokens',
        `added_tokens[${index}] has id ${inWords(id)} and content ${inWords(content)}; it needs both, the id an integer below ${MAX_TOKEN_IDS}.`,
      )
    }
    return { id, content, special: special === true }
  })
}

/** Padding and unknown tokens that are given by id rather than marked special. */
function unwrittenIds(root: JsonRecord, model: JsonRecord): Set<unknown> {
  const padding = isRecord(root.padding) ? [root.padding.pad_id] : []
  return new Set([...padding, model.unk_id].filter(isTokenId))
}

function decoderOf(decoder: unknown, depth = 1): PieceDecoder {
  if (decoder === null || decoder === undefined) return (piece) => piece
  const { type, ...settings } = requireRecord('decoder', decoder, 'it holds a type')
  switch (type) {
    case 'Sequence': {
      if (!Array.isArray(settings.decoders)) throw new InvalidConfigError('decoder', 'decoder is a Sequence without a list of decoders.')
      if (depth === MAX_DECODER_DEPTH) {
        throw new InvalidConfigError('decoder', `decoder is nested deeper than ${MAX_DECODER_DEPTH} Sequences; the file is damaged.`)
      }
      const steps = settings.decoders.map((step) => decoderOf(step, depth + 1))
      return (piece) => steps.reduce<string | undefined>((text, step) => (text === undefined ? text : step(text)), piece)
    }
    case 'ByteLevel':
      return byteLevelDecoder()
    case 'ByteFallback':
      return decodeByteFallback
    case 'Metaspace': {
      const mark = textOf(settings, 'replacement', '▁')
      return (piece) => piece.replaceAll(mark, ' ')
    }
    case 'Replace':
      return replaceDecoder(settings)
    case 'WordPiece': {
      const prefix = textOf(settings, 'prefix', '##')
      return (piece) => (piece.startsWith(prefix) ? piece.slice(prefix.length) : piece)
    }
    case 'BPEDecoder': {
      const suffix = textOf(settings, 'suffix', '</w>')
      return (piece) => piece.replaceAll(suffix, ' ')
    }
    // These join tokens or trim the ends of a whole text; a token on its own stays as it is.
    case 'Fuse':
    case 'Strip':
      return (piece) => piece
    default:
      throw new InvalidConfigError(
        'decoder',
        `decoder.type is ${inWords(type)}; known are ByteLevel, ByteFallback, Metaspace, Replace, WordPiece, BPEDecoder, Fuse, Strip and Sequence.`,
      )
  }
}

function textOf(settings: JsonRecord, name: string, usual: string): string {
  const value = settings[name] ?? usual
  if (typeof value === 'string') return value
  throw new InvalidConfigError('decoder', `decoder.${name} is ${inWords(value)}; it must be text.`)
}

function replaceDecoder(settings: JsonRecord): PieceDecoder {
  const { pattern } = settings
  const replacement = textOf(settings, 'content', '')
  if (isRecord(pattern) && typeof pattern.String === 'string') {
    const text = pattern.String
    return (piece) => piece.replaceAll(text, () => replacement)
  }
  if (isRecord(pattern) && typeof pattern.Regex === 'string') {
    const expression = expressionOf(pattern.Regex)
    return (piece) => piece.replace(expression, () => replacement)
  }
  throw new InvalidConfigError('decoder', `decoder Replace has the pattern ${inWords(pattern)}; it must be { String } or { Regex }.`)
}

function expressionOf(source: string): RegExp {
  try {
    return new RegExp(source, 'gu')
  } catch (cause) {
    throw new InvalidConfigError('decoder', `decoder Replace has the expression ${inWords(source)}: ${(cause as Error).message}.`, {
      cause,
    })
  }
}

/** Byte-level BPE writes each byte as one printable character: itself where it is visible, else the next free one from U+0100. */
function byteLevelDecoder(): PieceDecoder {
  const bytes = new Map<string, number>()
  let free = 0x100
  for (let byte = 0; byte < 256; byte++) {
    const visible = (byte > 0x20 && byte < 0x7f) || (byte > 0xa0 && byte !== 0xad)
    bytes.set(String.fromCodePoint(visible ? byte : free++), byte)
  }
  return (piece) => {
    const values = Array.from(piece, (character) => bytes.get(character))
    // A piece outside the alphabet was never made of bytes: it is its own text.
    return values.includes(undefined) ? piece : decodeUtf8(Uint8Array.from(values as number[]))
  }
}

/** sentencepiece writes a byte outside its vocabulary as <0xNN>. */
function decodeByteFallback(piece: string): string | undefined {
  const byte = /^<0x([0-9A-Fa-f]{2})>$/.exec(piece)
  return byte ? decodeUtf8(Uint8Array.of(Number.parseInt(byte[1], 16))) : piece
}

/** Fatal, so that partial bytes are told from text; a byte order mark is text like any other. */
const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

function decodeUtf8(bytes: Uint8Array): string | undefined {
  try {
    return utf8.decode(bytes)
  } catch (error) {
    if (error instanceof TypeError) return undefined
    throw error
  }
}

function isTokenId(value: unknown): value is number {
  return Number.isInteger(value) && (value as number) >= 0 && (value as number) < MAX_TOKEN_IDS
}

function isRecord(value: unknown): value is JsonRecord {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function requireRecord(name: string, value: unknown, remedy: string): JsonRecord {
  if (isRecord(value)) return value
  throw new InvalidConfigError(name, `${name} is ${value === undefined ? 'missing' : 'not an object'}; ${remedy}.`)
}
