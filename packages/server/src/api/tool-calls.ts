import { StopSearch } from '@phsa/model'

const OPEN = '<tool_call>'
const CLOSE = '</tool_call>'

/** A call of a tool, as a model has written it. */
export interface ToolCall {
  readonly name: string
  /** JSON of an object. */
  readonly arguments: string
}

/** What became certain: text that is in no call, and whole calls. */
export interface CallsAndText {
  readonly text: string
  readonly calls: readonly ToolCall[]
}

/** Whether a chat template teaches the form that is parsed here: `<tool_call>{"name": ..., "arguments": {...}}</tool_call>`, as Qwen and Hermes models write it. */
export function teachesToolCalls(template: string): boolean {
  return template.includes(OPEN)
}

/**
 * Takes calls of tools out of a text that comes in pieces. What stands between the marks and is no call stays text, marks and all; so does a call that never
 * ends. White space that a call, or the end after calls, follows is part of how they are written, unless other text stands before it. What follows
 * the last call that is wanted is dropped.
 */
export class ToolCalls {
  /** For the opening mark, or inside of a call for the closing one. */
  #search = new StopSearch([OPEN])
  /** Since the last opening mark; undefined outside of a call. */
  #inside: string | undefined
  readonly #most: number
  #found = 0
  /** White space since the beginning or the last call; undefined once there is other text. */
  #blank: string | undefined = ''

  /** @param most calls that are wanted */
  constructor(most = Number.POSITIVE_INFINITY) {
    this.#most = most
  }

  /** Whether all calls that are wanted are there. */
  get isFull(): boolean {
    return this.#found >= this.#most
  }

  /** Calls so far. */
  get found(): number {
    return this.#found
  }

  push(piece: string): CallsAndText {
    let text = ''
    const calls: ToolCall[] = []
    for (let rest = piece; !this.isFull; ) {
      const held = this.#search.held
      const certain = this.#search.push(rest)
      if (this.#inside === undefined) text += this.#beside(certain)
      else this.#inside += certain
      if (!this.#search.found) break
      const mark = this.#inside === undefined ? OPEN : CLOSE
      rest = (held + rest).slice(certain.length + mark.length)
      this.#search = new StopSearch([mark === OPEN ? CLOSE : OPEN])
      const written = this.#inside
      this.#inside = written === undefined ? '' : undefined
      if (written === undefined) continue
      const call = parseCall(written)
      if (call) {
        calls.push(call)
        this.#found++
        this.#blank = ''
      } else text += this.#beside(OPEN + written + CLOSE)
    }
    return { text, calls }
  }

  /** What was held back, at the end of the text. */
  end(): CallsAndText {
    const text = this.#beside((this.#inside === undefined ? '' : OPEN + this.#inside) + this.#search.end())
    this.#inside = undefined
    return { text: this.#found === 0 ? text + (this.#blank ?? '') : text, calls: [] }
  }

  /** @returns what is certain of the text beside calls */
  #beside(text: string): string {
    if (this.#blank === undefined) return text
    const all = this.#blank + text
    const isBlank = text.trim() === ''
    this.#blank = isBlank ? all : undefined
    return isBlank ? '' : all
  }
}

function parseCall(written: string): ToolCall | undefined {
  let call: unknown
  try {
    call = JSON.parse(written)
  } catch {
    // The model wrote something else: it stays text.
    return undefined
  }
  if (typeof call !== 'object' || call === null || !('name' in call) || typeof call.name !== 'string') return undefined
  const given = 'arguments' in call ? call.arguments : {}
  if (typeof given !== 'object' || given === null || Array.isArray(given)) return undefined
  return { name: call.name, arguments: JSON.stringify(given) }
}
