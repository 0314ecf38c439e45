import type { Context } from 'hono'
import type { ApiContext } from './api-context.js'
import type { ApiEnvironment } from './api-environment.js'
import { ApiError } from './api-error.js'
import { chatPrompt } from './chat-prompt.js'
import { requireModel } from './generation-plan.js'
import { readBody } from './read-body.js'
import { detokenizeSchema, tokenizeSchema } from './schemas/token-schemas.js'

/** POST /tokenize: the ids that a prompt or a conversation is continued from. */
export async function tokenize(c: Context<ApiEnvironment>, context: ApiContext): Promise<Response> {
  const body = await readBody(c, tokenizeSchema)
  requireModel(body.model, context)
  const { tokenizer, engine } = context
  const text = 'prompt' in body ? body.prompt : chatPrompt(body, tokenizer, body.add_generation_prompt ?? true)
  const tokens = Array.from(tokenizer.encode(text))
  return c.json({ count: tokens.length, max_model_len: engine.limits.maxTokens, tokens })
}

/** POST /detokenize: the text of ids. */
export async function detokenize(c: Context<ApiEnvironment>, context: ApiContext): Promise<Response> {
  const body = await readBody(c, detokenizeSchema)
  requireModel(body.model, context)
  const { tokenizer } = context
  const unknown = body.tokens.find((id) => id >= tokenizer.vocabSize)
  if (unknown !== undefined) {
    throw new ApiError(400, `tokens has ${unknown}; the tokenizer has 0 to ${tokenizer.vocabSize - 1}.`, {
      param: 'tokens',
      code: 'invalid_parameter',
    })
  }
  return c.json({ prompt: tokenizer.decode(body.tokens) })
}
