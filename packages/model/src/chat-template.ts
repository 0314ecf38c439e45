import { Template } from '@huggingface/jinja'
import { InvalidFileError, inWords } from '@phsa/core'
import { InvalidInputError } from './invalid-input-error.js'
import { isRecord } from './is-record.js'
import { reasonOf } from './reason-of.js'
import type { TextTokenizer } from './text-tokenizer.js'

/** One message of a conversation, as chat templates read it. */
export interface ChatMessage {
  readonly role: string
  readonly content: string
}

/** What the template is given besides the messages. */
export interface ChatTemplateOptions {
  /** Whether to open the assistant's answer at the end; default true. */
  readonly addGenerationPrompt?: boolean
  /** Which of several named templates; default `default`. */
  readonly template?: string
  /** Further variables that the template knows, `enable_thinking` for instance. */
  readonly variables?: Readonly<Record<string, unknown>>
}

/**
 * The prompt of a conversation, by the chat template that comes with a tokenizer.
 * @throws InvalidFileError without a template of that name, or when it cannot be parsed; InvalidInputError when it refuses these messages
 */
export function renderChat(tokenizer: TextTokenizer, messages: readonly ChatMessage[], options: ChatTemplateOptions = {}): string {
  const { settings } = tokenizer
  const template = parse(templateOf(tokenizer, options.template), tokenizer)
  const special = Object.fromEntries(['bos_token', 'eos_token', 'pad_token'].map((name) => [name, tokenText(settings[name])]))
  try {
    return template.render({ ...special, ...options.variables, messages, add_generation_prompt: options.addGenerationPrompt ?? true })
  } catch (cause) {
    throw new InvalidInputError(`the chat template refuses these messages: ${reasonOf(cause)}`, { cause })
  }
}

function parse(source: string, { label }: TextTokenizer): Template {
  try {
    return new Template(source)
  } catch (cause) {
    throw new InvalidFileError(`${label}: the chat_template beside it cannot be parsed: ${reasonOf(cause)}`, { cause })
  }
}

/** A template is a string, or one of a list of named ones. */
function templateOf({ label, settings: { chat_template: value } }: TextTokenizer, name = 'default'): string {
  if (value === undefined || value === null) {
    throw new InvalidFileError(
      `${label}: beside it is no chat template (chat_template in tokenizer_config.json, or chat_template.jinja); give a plain prompt instead.`,
    )
  }
  const named: unknown[] = Array.isArray(value) ? value : [{ name: 'default', template: value }]
  const found = named.find((entry) => isRecord(entry) && entry.name === name)
  if (isRecord(found) && typeof found.template === 'string') return found.template
  const names = named.map((entry) => (isRecord(entry) ? entry.name : entry))
  throw new InvalidFileError(`${label}: beside it is no chat template named ${inWords(name)}; there are ${inWords(names)}.`)
}

function tokenText(value: unknown): unknown {
  return (isRecord(value) ? value.content : value) ?? ''
}
