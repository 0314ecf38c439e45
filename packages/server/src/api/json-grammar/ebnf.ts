/** Rules that grammars of JSON are built on. One line of text, a blank after each comma and colon: what a model is given no choice in, it cannot get lost in. */
export const JSON_RULES = [
  String.raw`string ::= "\"" characters`,
  String.raw`characters ::= "\"" | [^"\\\x00-\x1f] characters | "\\" escape characters`,
  String.raw`escape ::= ["\\/bfnrt] | "u00" [01] [0-9a-fA-F]`,
  // Fifteen digits are exact in a double, and no number goes on without an end.
  'integer ::= "-"? ("0" | [1-9] [0-9]{0,14})',
  String.raw`number ::= integer ("." [0-9]{1,15})? ([eE] [+\-]? [0-9]{1,2})?`,
  'boolean ::= "true" | "false"',
  'null ::= "null"',
  'object ::= "{" (string ": " value (", " string ": " value)*)? "}"',
  'array ::= "[" (value (", " value)*)? "]"',
  'value ::= object | array | string | number | boolean | null',
]

/** A text as EBNF has it: exactly this one. */
export function literal(text: string): string {
  const escaped = Array.from(text, (character) => {
    if (character === '"' || character === '\\') return `\\${character}`
    if (/[ -~]/.test(character)) return character
    return `\\U${character.codePointAt(0)!.toString(16).padStart(8, '0')}`
  })
  return `"${escaped.join('')}"`
}

/** JSON of a value as the rules above write it. */
export function jsonLine(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(jsonLine).join(', ')}]`
  if (value === null || typeof value !== 'object') return JSON.stringify(value)
  const entries = Object.entries(value).map(([name, entry]) => `${JSON.stringify(name)}: ${jsonLine(entry)}`)
  return `{${entries.join(', ')}}`
}

/** How often something stands: `{2,5}`, `{2,}`. */
export function times(least: number, most: number | undefined): string {
  return `{${least},${most ?? ''}}`
}
