import { z } from 'zod'
import { only, optional, refused, text } from './field.js'
import { answerFields, idleFields, refusedFields, samplingFields } from './generation-fields.js'

const textPart = z.strictObject({
  type: z.literal('text', { error: 'only text parts are supported; images, audio and files are not' }),
  text,
})

const content = z.union([text, z.array(textPart).min(1)], { error: 'it must be a text, or a list of parts { type: "text", text }' })

const toolCall = z.strictObject({
  id: z.string(),
  type: z.literal('function'),
  function: z.strictObject({ name: z.string(), arguments: z.string() }),
})

const name = refused('names of speakers are not supported: chat templates do not show them')

/** lm-evaluation-harness writes it into every message. */
const type = only('text', 'messages are texts; leave it out')

const message = z.discriminatedUnion(
  'role',
  [
    z.strictObject({ role: z.literal('system'), content, name, type }),
    z.strictObject({ role: z.literal('developer'), content, name, type }).describe('The same as system.'),
    z.strictObject({ role: z.literal('user'), content, name, type }),
    z.strictObject({
      role: z.literal('assistant'),
      content: optional(content),
      name,
      type,
      tool_calls: optional(z.array(toolCall)),
      refusal: refused('refusals are not supported'),
      audio: refused('audio is not supported'),
      function_call: refused('function calls are not supported; give tool_calls'),
      annotations: optional(z.array(z.unknown()).max(0, 'annotations are not supported')),
    }),
    z.strictObject({ role: z.literal('tool'), content, tool_call_id: z.string(), type }),
  ],
  { error: 'the role must be system, developer, user, assistant or tool' },
)

const tool = z.strictObject({
  type: z.literal('function'),
  function: z.strictObject({
    name: z.string(),
    description: optional(z.string()),
    parameters: optional(z.record(z.string(), z.unknown())),
    strict: only(false, 'tool arguments are not constrained; leave it out or give false'),
  }),
})

/** The conversation itself: what a chat template makes a prompt of. */
export const conversationFields = {
  messages: z.array(message).min(1),
  tools: optional(z.array(tool)).describe(
    "Given to the model's chat template where that knows tools and has calls written as <tool_call> with JSON, else refused.",
  ),
  chat_template_kwargs: optional(z.record(z.string(), z.union([z.string(), z.number(), z.boolean()]))).describe(
    'Variables of the chat template, `enable_thinking` for instance; one that the template does not name is refused.',
  ),
}

const toolChoice = z.union(
  [
    z.literal(['none', 'auto', 'required']),
    z.strictObject({ type: z.literal('function'), function: z.strictObject({ name: z.string() }) }),
  ],
  { error: 'it must be "none", "auto", "required" or { type: "function", function: { name } }' },
)

const functionsReason = 'it is the old name; give tools'

/** Body of POST /v1/chat/completions. */
export const chatSchema = z.strictObject({
  ...conversationFields,
  max_tokens: optional(z.int().min(1)).describe('The old name of max_completion_tokens.'),
  max_completion_tokens: optional(z.int().min(1)).describe('Default: what fits, or what the server is set up with.'),
  logprobs: optional(z.boolean()),
  top_logprobs: optional(z.int().min(0)).describe('How many of the likeliest tokens are told beside each token; needs logprobs.'),
  tool_choice: optional(toolChoice).describe(
    'required and a named function constrain the text to one call of it; with none the model is not shown the tools, and nothing is taken for a call.',
  ),
  parallel_tool_calls: optional(z.boolean()).describe('With false a text ends after its first call.'),
  functions: refused(functionsReason),
  function_call: refused(functionsReason),
  modalities: optional(z.array(z.literal('text', { error: 'only text is supported' })).length(1)),
  audio: refused('audio is not supported'),
  prediction: refused('predicted outputs are not supported'),
  reasoning_effort: refused('the model has no such setting; chat_template_kwargs may have one'),
  verbosity: refused('the model has no such setting'),
  web_search_options: refused('the web is not searched'),
  best_of: refused('it is a parameter of completions; give n'),
  echo: refused('it is a parameter of completions'),
  ...samplingFields,
  ...answerFields,
  ...idleFields,
  ...refusedFields,
})

export type ChatBody = z.output<typeof chatSchema>
export type Conversation = Pick<ChatBody, 'messages' | 'tools' | 'chat_template_kwargs'>

/** The conversation of a body alone. */
export function conversationOf({ messages, tools, chat_template_kwargs }: Conversation): Conversation {
  return { messages, tools, chat_template_kwargs }
}
