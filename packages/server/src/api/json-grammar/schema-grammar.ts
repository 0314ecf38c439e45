import { inWords, shortened } from '@phsa/core'
import { refuseParameter } from '../refuse-parameter.js'
import { JSON_RULES, jsonLine, literal, times } from './ebnf.js'
import { GrammarSize } from './grammar-size.js'
import { inLoop } from './in-loop.js'

const MOST_DEPTH = 32

const TYPES: readonly unknown[] = ['object', 'array', 'string', 'number', 'integer', 'boolean', 'null']
/** Say nothing about what is valid. */
const NOTES = ['title', 'description', 'default', 'examples', 'deprecated', 'readOnly', 'writeOnly', '$comment', '$schema', '$id']
const DEFINITIONS = ['$defs', 'definitions']
const OF_TYPE: Readonly<Record<string, readonly string[]>> = {
  object: ['properties', 'required', 'additionalProperties'],
  array: ['items', 'minItems', 'maxItems'],
}

type Schema = Readonly<Record<string, unknown>>

/** JSON of a schema, and what stands around it. */
export interface SchemaText {
  readonly before?: string
  readonly schema: unknown
  readonly after?: string
  /** What errors call the schema. */
  readonly param: string
}

/**
 * EBNF of texts, rule `root`, that are one of those given: of the JSON that a schema allows those texts that have the properties in their order and none
 * besides.
 * @throws ApiError 400 naming the part of a schema that is wrong or not supported
 */
export function schemaGrammar(texts: readonly SchemaText[]): string {
  const rules: string[] = []
  const size = new GrammarSize()
  const choices = texts.map(({ before = '', schema, after = '', param }, index) => {
    const grammar = new SchemaGrammar(schema, param, `text${index}`, size)
    const around = [before, after].map((text) => grammar.written(text))
    rules.push(...grammar.rules())
    return around.join(` text${index} `)
  })
  return [`root ::= ${oneOf(choices)}`, ...rules, ...JSON_RULES].join('\n')
}

class SchemaGrammar {
  readonly #whole: unknown
  readonly #param: string
  readonly #name: string
  readonly #rules = new Map<string, string>()
  /** Rules of definitions that were met, by where they are defined. */
  readonly #defined = new Map<string, string>()
  /** Definitions that a definition may be, with nothing written before. */
  readonly #mayBe = new Map<string, Set<string>>()
  readonly #size: GrammarSize

  /** @param name of the rule of the whole schema, and how the others begin @param size of the whole grammar */
  constructor(schema: unknown, param: string, name: string, size: GrammarSize) {
    this.#whole = schema
    this.#param = param
    this.#name = name
    this.#size = size
  }

  /** A text as it stands in the grammar. */
  written(text: string): string {
    this.#add('characters', text.length)
    return literal(text)
  }

  rules(): string[] {
    this.#rules.set(this.#name, '')
    this.#defined.set('#', this.#name)
    this.#rules.set(this.#name, this.#expression(this.#whole, this.#param, 0, this.#name))
    if (inLoop(this.#mayBe)) this.#refuse(this.#param, 'has a $ref that leads back to itself with nothing between')
    return [...this.#rules].map(([name, expression]) => `${name} ::= ${expression}`)
  }

  /** @param within rule that the expression begins, as long as nothing was written in it; else undefined */
  #expression(given: unknown, path: string, depth: number, within: string | undefined): string {
    this.#add('parts', 1)
    if (depth > MOST_DEPTH) this.#refuse(path, `is deeper than ${MOST_DEPTH} schemas, the deepest that is taken`)
    if (given === true) return 'value'
    if (!isObject(given)) return this.#refuse(path, 'must be a JSON schema that something can match: an object')
    const schema = Object.fromEntries(Object.entries(given).filter(([name]) => !NOTES.includes(name) && !DEFINITIONS.includes(name)))
    const { $ref, anyOf, allOf } = schema
    if ($ref !== undefined) return this.#reference(this.#alone('$ref', schema, path), path, within)
    if (anyOf !== undefined) {
      const members = this.#list('anyOf', this.#alone('anyOf', schema, path), path)
      return oneOf(members.map((member, index) => this.#expression(member, `${path}.anyOf[${index}]`, depth + 1, within)))
    }
    if (allOf !== undefined) {
      const members = this.#list('allOf', this.#alone('allOf', schema, path), path)
      if (members.length > 1) this.#refuse(`${path}.allOf`, 'is not supported with more than one schema')
      return this.#expression(members[0], `${path}.allOf[0]`, depth + 1, within)
    }
    if ('enum' in schema || 'const' in schema) return this.#values(schema, path)
    return this.#typed(schema, path, depth)
  }

  #reference(reference: unknown, path: string, within: string | undefined): string {
    const [, group, name] =
      /^#(?:\/(\$defs|definitions)\/([\w.-]+))?$/.exec(String(reference)) ?? this.#refuse(`${path}.$ref`, 'may be # or #/$defs/NAME')
    const place = String(reference)
    let rule = this.#defined.get(place)
    if (rule === undefined) {
      const definitions = isObject(this.#whole) ? this.#whole[group] : undefined
      if (!isObject(definitions) || !Object.hasOwn(definitions, name)) this.#refuse(`${path}.$ref`, 'names a definition that is not there')
      rule = this.#reserve()
      this.#defined.set(place, rule)
      this.#rules.set(rule, this.#expression((definitions as Schema)[name], `${this.#param}.${group}.${name}`, 0, rule))
    }
    if (within !== undefined) this.#mayBe.set(within, (this.#mayBe.get(within) ?? new Set()).add(rule))
    return rule
  }

  #values({ type, enum: listed, const: only, ...others }: Schema, path: string): string {
    const [unknown] = Object.keys(others)
    if (unknown) this.#refuse(`${path}.${unknown}`, 'is not supported beside enum or const')
    const types = type === undefined ? undefined : this.#types(type, path)
    const values = listed === undefined ? [only] : this.#list('enum', listed, path)
    this.#add('parts', values.length)
    const fitting = values.filter((value) => !types || types.some((name) => isOfType(value, name)))
    if (listed !== undefined && only !== undefined) this.#refuse(path, 'has enum and const; give one of both')
    if (fitting.length === 0) this.#refuse(path, 'has no value of its type')
    return oneOf(fitting.map((value) => this.written(jsonLine(value))))
  }

  #typed({ type, ...others }: Schema, path: string, depth: number): string {
    const types = type === undefined ? undefined : this.#types(type, path)
    const known = (types ?? []).flatMap((name) => OF_TYPE[name] ?? [])
    for (const name of Object.keys(others)) {
      if (known.includes(name)) continue
      const isForOther = Object.values(OF_TYPE).some((names) => names.includes(name))
      this.#refuse(`${path}.${name}`, isForOther ? 'needs a type beside it that it is for' : 'is not supported in constrained texts')
    }
    if (!types) return 'value'
    return oneOf(
      types.map((name) => {
        if (name === 'object') return this.#object(others, path, depth)
        return name === 'array' ? this.#array(others, path, depth) : name
      }),
    )
  }

  #object({ properties = {}, required = [], additionalProperties }: Schema, path: string, depth: number): string {
    if (!isObject(properties)) return this.#refuse(`${path}.properties`, 'must be an object')
    const names = Object.keys(properties)
    const needed = this.#names(required, `${path}.required`)
    const unknown = needed.find((name) => !Object.hasOwn(properties, name))
    if (unknown !== undefined) this.#refuse(`${path}.required`, 'names a property that is not in properties')
    if (names.length === 0 && additionalProperties !== false) return this.#freeObject(additionalProperties ?? true, path, depth)
    if (additionalProperties !== undefined && additionalProperties !== false)
      this.#refuse(`${path}.additionalProperties`, 'is not supported beside properties; give false')
    this.#add('parts', names.length)
    const entries = names.map((name) => {
      const value = this.#rule(properties[name], `${path}.properties.${name}`, depth)
      return `${this.written(`${JSON.stringify(name)}: `)} ${value}`
    })
    // From the end: what may follow where no property was written yet, and where one was. Rules of two choices each compile fastest.
    let first = '""'
    let rest = '""'
    for (const [index, entry] of [...entries.entries()].reverse()) {
      const isNeeded = needed.includes(names[index])
      first = this.#named(`${entry} ${rest}${isNeeded ? '' : ` | ${first}`}`)
      rest = this.#named(`", " ${entry} ${rest}${isNeeded ? '' : ` | ${rest}`}`)
    }
    return `"{" ${first} "}"`
  }

  #freeObject(values: unknown, path: string, depth: number): string {
    if (values === true) return 'object'
    const entry = `string ": " ${this.#rule(values, `${path}.additionalProperties`, depth)}`
    return `"{" (${entry} (", " ${entry})*)? "}"`
  }

  #array({ items = true, minItems, maxItems }: Schema, path: string, depth: number): string {
    const [least, most] = this.#range(minItems, maxItems, path)
    if (most === 0) return '"[]"'
    const item = this.#rule(items, `${path}.items`, depth)
    const more = `(", " ${item})${times(Math.max(0, least - 1), most === undefined ? undefined : most - 1)}`
    return least === 0 ? `"[" (${item} ${more})? "]"` : `"[" ${item} ${more} "]"`
  }

  #range(minItems: unknown, maxItems: unknown, path: string): [number, number | undefined] {
    for (const [name, value] of Object.entries({ minItems, maxItems })) {
      if (value !== undefined && !(Number.isInteger(value) && (value as number) >= 0))
        this.#refuse(`${path}.${name}`, 'must be an integer of at least 0')
    }
    const least = (minItems ?? 0) as number
    const most = maxItems as number | undefined
    if (most !== undefined && most < least) this.#refuse(`${path}.maxItems`, 'is less than minItems')
    this.#add('repeated', most ?? least)
    return [least, most]
  }

  #add(...what: Parameters<GrammarSize['add']>): void {
    const tooMuch = this.#size.add(...what)
    if (tooMuch !== undefined) this.#refuse(this.#param, tooMuch)
  }

  /** A rule of its own for what is written in several places. */
  #rule(schema: unknown, path: string, depth: number): string {
    const expression = this.#expression(schema, path, depth + 1, undefined)
    return /^\w+$/.test(expression) ? expression : this.#named(expression)
  }

  #named(expression: string): string {
    const rule = this.#reserve()
    this.#rules.set(rule, expression)
    return rule
  }

  #reserve(): string {
    const rule = `${this.#name}part${this.#rules.size}`
    this.#rules.set(rule, '')
    return rule
  }

  #types(type: unknown, path: string): string[] {
    const types: unknown[] = Array.isArray(type) ? type : [type]
    const unknown = types.find((name) => !TYPES.includes(name))
    if (unknown !== undefined || types.length === 0) this.#refuse(`${path}.type`, `must be one or a list of ${inWords(TYPES)}`)
    return types as string[]
  }

  #names(value: unknown, path: string): string[] {
    if (Array.isArray(value) && value.every((name) => typeof name === 'string')) return value
    return this.#refuse(path, 'must be a list of names')
  }

  #list(name: string, value: unknown, path: string): unknown[] {
    if (Array.isArray(value) && value.length > 0) return value
    return this.#refuse(`${path}.${name}`, 'must be a list of at least one')
  }

  /** The value of a keyword that may have none but notes beside it. */
  #alone(keyword: string, schema: Schema, path: string): unknown {
    const other = Object.keys(schema).find((name) => name !== keyword)
    if (other !== undefined) this.#refuse(`${path}.${other}`, `is not supported beside ${keyword}`)
    return schema[keyword]
  }

  #refuse(path: string, what: string): never {
    return refuseParameter(shortened(path), `${shortened(path)} ${what}.`)
  }
}

function oneOf(expressions: readonly string[]): string {
  return expressions.length === 1 ? expressions[0] : `(${expressions.join(' | ')})`
}

function isObject(value: unknown): value is Schema {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function isOfType(value: unknown, type: string): boolean {
  if (type === 'null') return value === null
  if (type === 'array') return Array.isArray(value)
  if (type === 'object') return isObject(value)
  if (type === 'integer') return Number.isInteger(value)
  return typeof value === type
}
