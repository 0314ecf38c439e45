import { z } from 'zod'
import { conversationFields } from './chat-schema.js'
import { optional, text, tokenIds } from './field.js'

const model = optional(z.string())

/** Body of POST /tokenize: a plain prompt, or a conversation. */
export const tokenizeSchema = z.union(
  [z.strictObject({ model, prompt: text }), z.strictObject({ model, ...conversationFields, add_generation_prompt: optional(z.boolean()) })],
  {
    error:
      'give prompt (a text), or messages (a conversation), and nothing else but model, tools, chat_template_kwargs and add_generation_prompt',
  },
)

/** Body of POST /detokenize. */
export const detokenizeSchema = z.strictObject({ model, tokens: tokenIds })
