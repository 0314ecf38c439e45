import type { Context } from 'hono'
import type { ApiContext } from './api-context.js'
import type { ApiEnvironment } from './api-environment.js'
import { ApiError } from './api-error.js'
import { requireModel } from './generation-plan.js'
import { readBody } from './read-body.js'
import { conversationOf } from './schemas/chat-schema.js'
import { detokenizeSchema, tokenizeSchema } from './schemas/token-schemas.js'

/** POST /tokenize: the ids that a prompt or a conversation is continued from. */
export async function tokenize(c: Context<ApiEnvironment>, context: ApiContext): Promise<Response> {
  const body = await readBody(c, tokenizeSchema)
  requireModel(body.model, context)
  const { texts, engine } = context
  const { signal } = c.req.raw
  const ids =
    'prompt' in body
      ? await texts.encode(body.prompt, signal)
      : await texts.encodeChat(conversationOf(body), body.add_generation_prompt ?? true, signal)
  const tokens = Array.from(ids)
  return c.json({ count: tokens.length, max_model_len: engine.limits.maxTokens, tokens })
}

/** POST /detokenize: the text of ids. */
export async function detokenize(c: Context<ApiEnvironment>, context: ApiContext): Promise<Response> {
  const body = await readBody(c, detokenizeSchema)
  requireModel(body.model, context)
  const { tokenizer, texts } = context
  const unknown = body.tokens.find((id) => id >= tokenizer.vocabSize)
  if (unknown !== undefined) {
    throw new ApiError(400, `tokens has ${unknown}; the tokenizer has 0 to ${tokenizer.vocabSize - 1}.`, {
      param: 'tokens',
      code: 'invalid_parameter',
    })
  }
  return c.json({ prompt: await texts.decode(body.tokens, c.req.raw.signal) })
}
