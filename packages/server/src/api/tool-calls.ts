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

/** Takes calls of tools out of a text that comes in pieces. What stands between the marks and is no call stays text, marks and all; so does a call that never ends. */
export class ToolCalls {
  #search = new StopSearch([OPEN])
  /** Since the last opening mark; undefined outside of a call. */
  #inside: string | undefined
  #found = 0

  /** Calls so far. */
  get found(): number {
    return this.#found
  }

  push(piece: string): CallsAndText {
    let text = ''
    const calls: ToolCall[] = []
    for (let rest = piece; ; ) {
      if (this.#inside === undefined) {
        const held = this.#search.held
        const certain = this.#search.push(rest)
        text += certain
        if (!this.#search.found) break
        rest = (held + rest).slice(certain.length + OPEN.length)
        this.#inside = ''
        this.#search = new StopSearch([OPEN])
      }
      this.#inside += rest
      const end = this.#inside.indexOf(CLOSE)
      if (end < 0) break
      const written = this.#inside.slice(0, end)
      rest = this.#inside.slice(end + CLOSE.length)
      this.#inside = undefined
      const call = parseCall(written)
      if (call) calls.push(call)
      else text += OPEN + written + CLOSE
      this.#found += call ? 1 : 0
    }
    return { text: this.#besideCalls(text), calls }
  }

  /** What was held back, at the end of the text. */
  end(): CallsAndText {
    const text = this.#inside === undefined ? this.#search.end() : OPEN + this.#inside
    this.#inside = undefined
    return { text: this.#besideCalls(text), calls: [] }
  }

  /** Line breaks between calls are part of how they are written. */
  #besideCalls(text: string): string {
    return this.#found > 0 && text.trim() === '' ? '' : text
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
