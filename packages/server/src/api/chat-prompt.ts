import { type ChatMessage, renderChat, type TextTokenizer } from '@phsa/model'
import { ApiError } from './api-error.js'
import { refuseParameter } from './refuse-parameter.js'
import type { Conversation } from './schemas/chat-schema.js'
import { teachesToolCalls } from './tool-calls.js'

/**
 * The prompt of a conversation, by the model's chat template.
 * @throws ApiError 400 without a template, for tools and variables that it does not know, and where it refuses the messages
 */
export function chatPrompt(conversation: Conversation, tokenizer: TextTokenizer, addGenerationPrompt = true): string {
  const source = templateSource(tokenizer)
  const { messages, tools, chat_template_kwargs } = conversation
  const usesTools =
    (tools ?? []).length > 0 ||
    messages.some((message) => message.role === 'tool' || (message.role === 'assistant' && (message.tool_calls ?? []).length > 0))
  if (usesTools && !names(source, 'tools'))
    refuseParameter('tools', 'the chat template of this model knows no tools; describe them in a message instead.')
  if ((tools ?? []).length > 0 && !teachesToolCalls(source)) {
    refuseParameter(
      'tools',
      'the chat template of this model has calls written in a form that is not parsed here (<tool_call> with JSON is); describe the tools in a message instead.',
    )
  }
  for (const name of Object.keys(chat_template_kwargs ?? {})) {
    if (names(source, name) && !OWN_VARIABLES.has(name)) continue
    refuseParameter(
      'chat_template_kwargs',
      `chat_template_kwargs has a variable that the chat template of this model does not take; leave it out.`,
    )
  }
  try {
    return renderChat(tokenizer, messages.map(templateMessage), {
      addGenerationPrompt,
      variables: { ...chat_template_kwargs, ...(tools && tools.length > 0 && { tools }) },
    })
  } catch (cause) {
    throw new ApiError(400, cause instanceof Error ? cause.message : String(cause), { param: 'messages', code: 'invalid_parameter', cause })
  }
}

/** What the template is given by us: a request may not put others in their place. */
const OWN_VARIABLES: ReadonlySet<string> = new Set(['messages', 'tools', 'add_generation_prompt', 'bos_token', 'eos_token', 'pad_token'])

function templateSource({ settings }: TextTokenizer): string {
  const template: unknown = settings.chat_template ?? undefined
  if (template === undefined) refuseParameter('messages', 'this model has no chat template; use /v1/completions with a plain prompt.')
  return typeof template === 'string' ? template : JSON.stringify(template)
}

function names(template: string, variable: string): boolean {
  return /^\w+$/.test(variable) && new RegExp(`\\b${variable}\\b`).test(template)
}

/** Templates read a message's text, not parts of it, and know the instructions under their older name. */
function templateMessage(message: Conversation['messages'][number]): ChatMessage {
  const { role, content } = message
  const text = typeof content === 'string' ? content : (content ?? []).map((part) => part.text).join('')
  if (role === 'developer') return { role: 'system', content: text }
  if (role === 'tool') return { role, content: text, tool_call_id: message.tool_call_id } as ChatMessage
  if (role === 'assistant' && message.tool_calls)
    return { role, content: text, tool_calls: message.tool_calls.map(parsedCall) } as ChatMessage
  return { role, content: text }
}

/** Arguments come as JSON text, and templates write them as JSON: parsed, so that they are not quoted twice. */
function parsedCall(call: { function: { name: string; arguments: string } }): object {
  try {
    return { ...call, function: { ...call.function, arguments: JSON.parse(call.function.arguments) } }
  } catch {
    return refuseParameter('messages', 'a tool call in messages has arguments that are no JSON; give them as they were made.')
  }
}
