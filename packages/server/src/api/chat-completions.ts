import type { Context } from 'hono'
import { answer } from './answer.js'
import type { ApiContext } from './api-context.js'
import type { ApiEnvironment } from './api-environment.js'
import { callGrammar } from './call-grammar.js'
import { ChatShape } from './chat-shape.js'
import { planGeneration } from './generation-plan.js'
import { readBody } from './read-body.js'
import { refuseParameter } from './refuse-parameter.js'
import { type ChatBody, chatSchema, conversationOf } from './schemas/chat-schema.js'

/** POST /v1/chat/completions */
export async function chatCompletions(c: Context<ApiEnvironment>, context: ApiContext): Promise<Response> {
  const body = withCallable(await readBody(c, chatSchema))
  const { max_tokens, max_completion_tokens, top_logprobs } = body
  if ((max_tokens ?? max_completion_tokens) !== (max_completion_tokens ?? max_tokens)) {
    refuseParameter('max_tokens', 'max_tokens and max_completion_tokens are given and differ; give one of both.')
  }
  if ((top_logprobs ?? undefined) !== undefined && !body.logprobs)
    refuseParameter('top_logprobs', 'top_logprobs needs logprobs: true; give it, or leave top_logprobs out.')
  const record = c.get('record')
  const prompt = await context.texts.encodeChat(conversationOf(body), true, c.req.raw.signal)
  const asked = max_completion_tokens ?? max_tokens ?? undefined
  const details = {
    prompts: [prompt],
    promptParam: 'messages' as const,
    maxTokens: asked ?? usualTokens(prompt.length, context),
    maxTokensParam: (max_completion_tokens ?? undefined) === undefined ? 'max_tokens' : 'max_completion_tokens',
    perPrompt: body.n ?? 1,
    perPromptParam: 'n' as const,
    logprobs: body.logprobs ? (top_logprobs ?? 0) : undefined,
    logprobsParam: 'top_logprobs',
    ...callGrammar(body),
    mostCalls: wantedCalls(body),
  }
  const plan = planGeneration(body, details, context, record.caller)
  const { mostCalls } = plan
  return answer(c, plan, new ChatShape({ id: `chatcmpl-${record.id}`, logprobs: body.logprobs ?? false, mostCalls }, context), context)
}

/** Tools that may not be called are as good as not given: a model that is shown them may call one all the same. */
function withCallable(body: ChatBody): ChatBody {
  return body.tool_choice === 'none' ? { ...body, tools: undefined } : body
}

function wantedCalls({ tools, parallel_tool_calls }: ChatBody): number {
  if ((tools ?? []).length === 0) return 0
  return parallel_tool_calls === false ? 1 : Number.POSITIVE_INFINITY
}

/** Where the request says nothing: what the server is set up with, as far as it fits. */
function usualTokens(promptTokens: number, { engine, settings }: ApiContext): number | undefined {
  const room = engine.limits.maxTokens - promptTokens
  return settings.chatTokens !== undefined && room > settings.chatTokens ? settings.chatTokens : undefined
}
