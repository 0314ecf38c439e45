import { Template } from '@huggingface/jinja'
import { InvalidFileError } from '@phsa/core'
import { InvalidInputError } from './invalid-input-error.js'
import { isRecord } from './is-record.js'
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
  /** Further variables that the template knows, `enable_thinking` for instance. */
  readonly variables?: Readonly<Record<string, unknown>>
}

/**
 * The prompt of a conversation, by the chat template that comes with a tokenizer.
 * @throws InvalidFileError without a template, or when it cannot be parsed; InvalidInputError when it refuses these messages
 */
export function renderChat(tokenizer: TextTokenizer, messages: readonly ChatMessage[], options: ChatTemplateOptions = {}): string {
  const { settings } = tokenizer
  const template = parse(templateOf(settings.chat_template))
  const special = Object.fromEntries(['bos_token', 'eos_token', 'pad_token'].map((name) => [name, tokenText(settings[name])]))
  try {
    return template.render({ ...special, ...options.variables, messages, add_generation_prompt: options.addGenerationPrompt ?? true })
  } catch (cause) {
    throw new InvalidInputError(`the chat template refuses these messages: ${(cause as Error).message}`, { cause })
  }
}

function parse(source: string): Template {
  try {
    return new Template(source)
  } catch (cause) {
    throw new InvalidFileError(`the tokenizer's chat_template cannot be parsed: ${(cause as Error).message}`, { cause })
  }
}

/** A template is a string, or one of a list of named ones, of which "default" is taken. */
function templateOf(value: unknown): string {
  if (typeof value === 'string') return value
  const named: unknown[] = Array.isArray(value) ? value : []
  const found = named.find((entry) => isRecord(entry) && entry.name === 'default')
  if (isRecord(found) && typeof found.template === 'string') return found.template
  throw new InvalidFileError('the tokenizer has no chat template (chat_template in tokenizer_config.json); give a plain prompt instead.')
}

function tokenText(value: unknown): unknown {
  return (isRecord(value) ? value.content : value) ?? ''
}
