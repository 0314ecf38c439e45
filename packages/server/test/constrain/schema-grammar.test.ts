import { RandomStream } from '@phsa/core'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { ApiError } from '../../src/api/api-error.js'
import { schemaGrammar } from '../../src/api/json-grammar/schema-grammar.js'
import { GrammarBank } from '../../src/constrain/grammar-bank.js'
import { grammarVocabulary } from '../../src/constrain/grammar-vocabulary.js'
import { loadXGrammar } from '../../src/constrain/load-xgrammar.js'
import { tinyTokenizer } from '../api/tiny-tokenizer.js'
import { matchesSchema } from './matches-schema.js'

const tokenizer = tinyTokenizer()
const END = tokenizer.eosTokenId!
/** As a model's vocabulary is, padded. */
const WIDTH = tokenizer.vocabSize + 9
let bank: GrammarBank
beforeAll(async () => {
  bank = await GrammarBank.create(await loadXGrammar(), grammarVocabulary(tokenizer.json), WIDTH)
})
afterAll(() => bank.dispose())

const person = {
  type: 'object',
  properties: {
    'the "name"\n\\ é 漢 😀': { type: 'string' },
    age: { type: ['integer', 'null'], description: 'Years.' },
    tags: { type: 'array', items: { enum: ['a', 0.1, 1e21, -0, null, { b: [true, 'é"'] }] }, minItems: 1, maxItems: 3 },
    home: { $ref: '#/$defs/place' },
  },
  required: ['age', 'tags'],
  additionalProperties: false,
  $defs: {
    place: { type: 'object', properties: { x: { type: 'number' }, within: { anyOf: [{ type: 'null' }, { $ref: '#/$defs/place' }] } } },
  },
}

const schemas: readonly [string, Record<string, unknown>][] = [
  ['an object', person],
  [
    'many properties',
    {
      type: 'object',
      properties: Object.fromEntries(Array.from({ length: 40 }, (_, index) => [`p${index}`, { type: 'null' }])),
      required: ['p7', 'p20'],
    },
  ],
  ['a text', { type: 'string' }],
  ['a short list', { type: 'array', items: { type: 'boolean' }, minItems: 2, maxItems: 2 }],
  ['a list of at least two', { type: 'array', items: { type: 'integer' }, minItems: 2 }],
  ['no list', { type: 'array', maxItems: 0 }],
  ['one value', { const: { a: [1, 'x'] } }],
  ['values of a type', { type: 'integer', enum: [1, 'x', 2.5, 3] }],
  ['optional properties', { type: 'object', properties: { a: { const: 1 }, b: { const: 2 }, c: { const: 3 } } }],
  ['one that is needed', { type: 'object', properties: { a: { const: 1 }, b: { const: 2 }, c: { const: 3 } }, required: ['b'] }],
  ['no property', { type: 'object', additionalProperties: false }],
  ['a map', { type: 'object', additionalProperties: { type: 'integer' } }],
  ['either', { anyOf: [{ type: 'string' }, { allOf: [{ type: 'number' }] }] }],
  ['itself', { type: 'array', items: { $ref: '#' }, maxItems: 2 }],
  ['anything', {}],
]

const grammarOf = (schema: unknown) => schemaGrammar([{ schema, param: 'schema' }])

/** A text that is drawn evenly from what may come next; from the quarter of it with the lowest ids where it grows long, which end things. */
async function drawText(schema: unknown, seed: number): Promise<string> {
  const matcher = await bank.matcher(grammarOf(schema), [END])
  const random = new RandomStream(seed)
  const ids: number[] = []
  try {
    for (;;) {
      const allowed = await matcher.getNextTokenBitmask()
      const choice = Array.from({ length: WIDTH }, (_, id) => id).filter((id) => (allowed[id >> 5] >>> (id & 31)) & 1)
      expect(choice.length).toBeGreaterThan(0)
      // Closing marks, digits and the end, so that what calls itself comes to an end.
      const closing = choice.filter((id) => id === END || '"]}0l'.includes(tokenizer.decode([id])))
      const from = ids.length > 60 && closing.length > 0 ? closing : choice
      const id = from[random.below(from.length)]
      if (id === END) return tokenizer.decode(ids)
      expect(matcher.acceptToken(id)).toBe(true)
      ids.push(id)
      if (ids.length > 2000) throw new Error(`no end: ${tokenizer.decode(ids.slice(0, 300))}`)
    }
  } finally {
    matcher.dispose()
  }
}

test.each(schemas)('%s: every text is JSON of the schema', async (_, schema) => {
  const texts = new Set<string>()
  for (let seed = 0; seed < 12; seed++) {
    const text = await drawText(schema, seed)
    texts.add(text)
    expect(matchesSchema(JSON.parse(text), schema), text).toBe(true)
  }
  if ('properties' in schema) expect(texts.size).toBeGreaterThan(1)
})

test('the check that texts are held against finds what is wrong', () => {
  const right = { age: 3, tags: ['a'] }
  expect(matchesSchema(right, person)).toBe(true)
  for (const wrong of [
    { age: 3 },
    { ...right, age: 3.5 },
    { ...right, tags: [] },
    { ...right, tags: ['b'] },
    { ...right, more: 1 },
    { ...right, home: { x: 'x' } },
  ]) {
    expect(matchesSchema(wrong, person)).toBe(false)
  }
})

test.each([
  ['a list that is too long', { type: 'array', maxItems: 2 }, '[1, 2, 3]'],
  ['a property in another place', { type: 'object', properties: { a: { const: 1 }, b: { const: 2 } } }, '{"b": 2, "a": 1}'],
  ['a raw line break', { type: 'string' }, '"\n"'],
  ['another value', { enum: ['ab', 'ac'] }, '"ad"'],
])('refuses %s', async (_, schema, text) => {
  const matcher = await bank.matcher(grammarOf(schema), [END])
  const taken = [...tokenizer.encode(text)].every((id) => matcher.acceptToken(id))
  const allowed = taken ? (await matcher.getNextTokenBitmask())[END >> 5] : 0
  matcher.dispose()
  expect((allowed >>> (END & 31)) & 1).toBe(0)
})

test.each<[string, unknown]>([
  ['schema.properties.a.pattern', { type: 'object', properties: { a: { type: 'string', pattern: 'x' } } }],
  ['schema.minimum', { type: 'integer', minimum: 3 }],
  ['schema.properties', { properties: {} }],
  ['schema.items.oneOf', { type: 'array', items: { oneOf: [{}] } }],
  ['schema.type', { type: 'text' }],
  ['schema.type', { anyOf: [{ type: 'null' }], type: 'null' }],
  ['schema.anyOf', { anyOf: [] }],
  ['schema.allOf', { allOf: [{}, {}] }],
  ['schema.enum', { enum: [] }],
  ['schema', { enum: ['x'], type: 'integer' }],
  ['schema.required', { type: 'object', properties: {}, required: ['a'] }],
  ['schema.additionalProperties', { type: 'object', properties: { a: {} }, additionalProperties: true }],
  ['schema.$ref', { $ref: '#/$defs/a' }],
  ['schema.$ref', { $ref: 'https://example.com/schema' }],
  ['schema', { $defs: { a: { anyOf: [{ $ref: '#/$defs/b' }] }, b: { $ref: '#/$defs/a' } }, $ref: '#/$defs/a' }],
  ['schema.anyOf[0]', { anyOf: [false] }],
  ['schema.maxItems', { type: 'array', minItems: 2, maxItems: 1 }],
  ['schema.minItems', { type: 'array', minItems: -1 }],
  ['schema.minLength', { type: 'string', minLength: 1 }],
  ['schema', { type: 'array', maxItems: 5000 }],
  ['schema', { enum: Array.from({ length: 3000 }, (_, index) => index) }],
  ['schema', { const: 'x'.repeat(70_000) }],
  ['schema', { type: 'object', properties: { ['x'.repeat(70_000)]: {} } }],
  ['schema', { type: 'object', properties: Object.fromEntries(Array.from({ length: 1100 }, (_, index) => [`p${index}`, {}])) }],
])('%s is named where it cannot be followed', (param, schema) => {
  expect.assertions(2)
  try {
    grammarOf(schema)
  } catch (error) {
    expect(error).toBeInstanceOf(ApiError)
    expect(error).toMatchObject({ status: 400, param })
  }
})

test('schemas of several tools may not be larger together than one', () => {
  const schema = { enum: Array.from({ length: 1500 }, (_, index) => index) }
  expect(schemaGrammar([{ schema, param: 'first' }])).toContain('1499')
  const both = () => schemaGrammar(['first', 'second'].map((param) => ({ schema, param })))
  expect(both).toThrow('second has more than 2048 schemas, properties and values')
})

test('what is no grammar is an error of the request, and the next one works', async () => {
  await expect(bank.matcher('root ::= nothing', [END])).rejects.toMatchObject({ code: 'invalid-input' })
  expect(await drawText({ const: 7 }, 1)).toBe('7')
})
