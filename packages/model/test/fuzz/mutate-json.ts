import type { RandomStream } from '@phsa/core'
import { choice } from './fuzz-random.js'

/** Written as 1e999 afterwards, which JSON can say and numbers cannot. */
const ENDLESS = '@1e999@'
/** Written as lists in lists afterwards, so many that whatever follows them by calling itself runs out of stack; this writer too. */
const BOTTOMLESS = '@deep@'
const BOTTOMLESS_TEXT = '['.repeat(20_000) + ']'.repeat(20_000)

/** Parts of a tokenizer that are sound where they are rarely used, and parts that are not. */
const PARTS = [
  { type: 'FixedLength', length: 0 },
  { type: 'FixedLength', length: 2 },
  { type: 'Strip', content: ' ', start: 1e15, stop: 0 },
  { type: 'Strip', strip_left: true },
  { type: 'Prepend', prepend: 7 },
  { type: 'Replace', pattern: { String: '' }, content: 'ab' },
  { type: 'Replace', pattern: { Regex: '(' }, content: '' },
  { type: 'Replace', pattern: {} },
  { type: 'Split', pattern: { Regex: 'a|' }, behavior: 'Removed' },
  { type: 'Metaspace', replacement: '' },
  { type: 'Metaspace', replacement: 7 },
  { type: 'BPEDecoder', suffix: {} },
  { type: 'WordPiece', prefix: [] },
  { type: 'TemplateProcessing', single: [{ SpecialToken: { id: 'x' } }] },
  { type: 'CTC' },
  { type: 'Sequence', decoders: [null], normalizers: [null], pretokenizers: [null] },
  { type: 'Unigram', vocab: [['a', -1]], unk_id: 9 },
  { type: 'WordPiece', vocab: { a: 0 }, unk_token: 'b' },
  { id: 2 ** 32 - 2, content: 'x' },
  { id: 1, content: '', normalized: true },
]

type Container = Record<string, unknown> | unknown[]

/** Lists and objects in each other. */
function nested(depth: number): unknown {
  let value: unknown = 1
  for (let level = 0; level < depth; level++) value = level % 2 === 0 ? [value] : { a: value }
  return value
}

const NUMBERS = [
  0,
  -0,
  -1,
  1,
  2,
  0.5,
  -1.5,
  255,
  2 ** 16,
  2 ** 24,
  2 ** 30,
  2 ** 31,
  2 ** 32 - 1,
  2 ** 32,
  1e9,
  1e12,
  2 ** 53,
  2 ** 63,
  1e308,
  5e-324,
  ENDLESS,
  `-${ENDLESS}`,
]
const TEXTS = [
  '',
  ' ',
  'x',
  '../x',
  '/x',
  '..',
  '\u0000',
  '\ud800',
  '\ufeff',
  '(',
  '[',
  '(a+)+$',
  '\\',
  '<0xFF>',
  '▁',
  '__proto__',
  'constructor',
  'toString',
  'length',
  'BPE',
  'Unigram',
  'WordPiece',
  'Sequence',
  'ByteLevel',
  'F64',
  'I64',
  'BOOL',
  'F16',
  'model.safetensors',
  'config.json',
  '{{',
  '{% for a in b %}',
  '{{ messages[9].content }}',
  'x'.repeat(5000),
]

/** A copy: what is put in may be changed by the mutation after it, which the next input must not see. */
function extreme(random: RandomStream): unknown {
  return structuredClone(drawExtreme(random))
}

function drawExtreme(random: RandomStream): unknown {
  const kind = random.below(12)
  if (kind < 4) return choice(random, NUMBERS)
  if (kind < 7) return choice(random, TEXTS)
  if (kind === 7) return choice(random, [null, true, false])
  if (kind === 8) return choice<unknown>(random, [[], {}, [[]], [null], { type: 'Sequence' }, [0, 1], ['a', 'b'], { content: 7 }])
  if (kind === 9) return choice<unknown>(random, [nested(5), nested(60), nested(70), BOTTOMLESS])
  return choice(random, PARTS)
}

/** A random list or object of a value, and one of its keys; undefined in an empty one. Most of the way it goes where there is more below. */
function somewhere(random: RandomStream, root: Container): { parent: Container; key: string | undefined } {
  let parent = root
  for (;;) {
    const keys = Object.keys(parent)
    const inner = keys.filter((key) => isContainer((parent as Record<string, unknown>)[key]))
    const candidates = inner.length > 0 && random.below(10) < 7 ? inner : keys
    const key = candidates.length > 0 ? choice(random, candidates) : undefined
    const child = key === undefined ? undefined : (parent as Record<string, unknown>)[key]
    if (!isContainer(child) || random.below(6) === 0) return { parent, key }
    parent = child
  }
}

function isContainer(value: unknown): value is Container {
  return typeof value === 'object' && value !== null
}

/** Every number of a value, so that each is as likely as any other, however deep it lies. */
function numbersOf(root: Container): { parent: Container; key: string }[] {
  const found: { parent: Container; key: string }[] = []
  const open: Container[] = [root]
  for (let parent = open.pop(); parent !== undefined; parent = open.pop()) {
    for (const [key, value] of Object.entries(parent)) {
      if (typeof value === 'number') found.push({ parent, key })
      else if (isContainer(value)) open.push(value)
    }
  }
  return found
}

function put(parent: Container, key: string, value: unknown): void {
  // An assignment to __proto__ would change the prototype.
  Object.defineProperty(parent, key, { value, writable: true, enumerable: true, configurable: true })
}

type JsonMutation = (random: RandomStream, root: Container) => void

const mutations: Readonly<Record<string, JsonMutation>> = {
  replace: (random, root) => {
    const { parent, key } = somewhere(random, root)
    if (key !== undefined) put(parent, key, extreme(random))
  },
  remove: (random, root) => {
    const { parent, key } = somewhere(random, root)
    if (Array.isArray(parent)) parent.splice(Number(key ?? 0), 1)
    else if (key !== undefined) delete parent[key]
  },
  add: (random, root) => {
    const { parent } = somewhere(random, root)
    if (Array.isArray(parent)) parent.splice(random.below(parent.length + 1), 0, extreme(random))
    else put(parent, choice(random, TEXTS), extreme(random))
  },
  repeat: (random, root) => {
    const { parent, key } = somewhere(random, root)
    if (Array.isArray(parent) && key !== undefined) parent.push(parent[Number(key)])
    else if (key !== undefined) put(parent, `${key}2`, (parent as Record<string, unknown>)[key])
  },
  swap: (random, root) => {
    const [left, right] = [somewhere(random, root), somewhere(random, root)]
    if (left.key === undefined || right.key === undefined) return
    const value = (left.parent as Record<string, unknown>)[left.key]
    // A copy: moved as it is, a part could come to lie in itself.
    put(left.parent, left.key, JSON.parse(JSON.stringify((right.parent as Record<string, unknown>)[right.key])))
    if (typeof value !== 'object') put(right.parent, right.key, value)
  },
  number: (random, root) => {
    const found = numbersOf(root)
    if (found.length === 0) return
    const { parent, key } = choice(random, found)
    put(parent, key, choice(random, NUMBERS))
  },
  part: (random, root) => {
    const name = choice(random, ['normalizer', 'pre_tokenizer', 'decoder', 'post_processor', 'model', 'dtype', 'model_type'])
    if (name in root) put(root, name, structuredClone(choice(random, PARTS)))
  },
  nudge: (random, root) => {
    for (let attempts = 0; attempts < 8; attempts++) {
      const { parent, key } = somewhere(random, root)
      const value = key === undefined ? undefined : (parent as Record<string, unknown>)[key]
      if (typeof value !== 'number') continue
      return put(parent, key!, choice(random, [value + 1, value - 1, value * 2, -value, value + 0.5, String(value), [value]]))
    }
  },
  wrap: (random, root) => {
    const { parent, key } = somewhere(random, root)
    if (key === undefined) return
    const value = (parent as Record<string, unknown>)[key]
    put(
      parent,
      key,
      choice<unknown>(random, [[value], { type: 'Sequence', normalizers: [value], decoders: [value], pretokenizers: [value] }]),
    )
  },
}

/** Changes of the text that no value has: a key twice, a piece missing. */
function mutateText(random: RandomStream, text: string): string {
  const at = text.indexOf('"', random.below(text.length))
  const end = text.indexOf(',', at)
  if (at < 0 || end < 0) return text.slice(0, random.below(text.length))
  const piece = text.slice(at, end + 1)
  return choice(random, [text.slice(0, at) + piece + text.slice(at), text.slice(0, at) + text.slice(end + 1), `${text}${piece}`])
}

/** A JSON text with a few of its values replaced, removed, repeated, moved or changed by one. @returns also what was done, by name */
export function mutateJson(random: RandomStream, json: string): { text: string; done: string[] } {
  const root = JSON.parse(json) as Container
  const done = Array.from({ length: 1 + random.below(3) }, () => choice(random, Object.keys(mutations)))
  for (const name of done) mutations[name](random, root)
  const text = JSON.stringify(root)
    .replaceAll(`"${ENDLESS}"`, '1e999')
    .replaceAll(`"-${ENDLESS}"`, '-1e999')
    .replaceAll(`"${BOTTOMLESS}"`, BOTTOMLESS_TEXT)
  if (random.below(12) > 0) return { text, done }
  return { text: mutateText(random, text), done: [...done, 'text'] }
}
