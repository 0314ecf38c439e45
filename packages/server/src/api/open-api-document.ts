import { z } from 'zod'
import { chatSchema } from './schemas/chat-schema.js'
import { completionSchema } from './schemas/completion-schema.js'
import { detokenizeSchema, tokenizeSchema } from './schemas/token-schemas.js'

/** A route as the document describes it. */
interface RouteDescription {
  readonly path: string
  readonly method: 'get' | 'post'
  readonly summary: string
  readonly body?: z.ZodType
  readonly isOpen?: boolean
}

const ROUTES: readonly RouteDescription[] = [
  { path: '/v1/models', method: 'get', summary: 'The model that is served, and what it takes.' },
  { path: '/v1/models/{name}', method: 'get', summary: 'The same, by name.' },
  { path: '/v1/completions', method: 'post', summary: 'Continues prompts.', body: completionSchema },
  { path: '/v1/chat/completions', method: 'post', summary: 'Answers in a conversation.', body: chatSchema },
  { path: '/v1/embeddings', method: 'post', summary: 'Not supported: always 400.' },
  { path: '/tokenize', method: 'post', summary: 'Token ids of a prompt or a conversation.', body: tokenizeSchema },
  { path: '/detokenize', method: 'post', summary: 'Text of token ids.', body: detokenizeSchema },
  { path: '/health', method: 'get', summary: 'The same as /health/ready.', isOpen: true },
  { path: '/health/live', method: 'get', summary: '200 as long as the server answers.', isOpen: true },
  { path: '/health/ready', method: 'get', summary: '200 where new requests are taken, else 503.', isOpen: true },
  { path: '/metrics', method: 'get', summary: 'Metrics for Prometheus.' },
  { path: '/openapi.json', method: 'get', summary: 'This document.' },
]

const ERRORS: Readonly<Record<string, string>> = {
  400: 'A parameter is wrong, unknown or not supported; `param` names it.',
  401: 'The API key is missing or wrong.',
  403: "Without keys: the Host is not this machine's own name.",
  404: 'Another model or route.',
  413: 'The body is too large.',
  415: 'The body is no application/json, or is compressed.',
  429: 'The queue is full, or a limit of the key is reached; see the header Retry-After.',
  503: 'The server drains, or its engine has stopped; see the header Retry-After.',
}

/** The OpenAPI 3.1 description of this server; bodies are described by the very schemas that check them. */
export function openApiDocument(): object {
  const paths: Record<string, Record<string, object>> = {}
  for (const { path, method, summary, body, isOpen } of ROUTES) {
    paths[path] = {
      ...paths[path],
      [method]: {
        summary,
        ...(path.includes('{name}') && { parameters: [{ name: 'name', in: 'path', required: true, schema: { type: 'string' } }] }),
        ...(body && { requestBody: { required: true, content: { 'application/json': { schema: bodySchema(body) } } } }),
        ...(isOpen && { security: [] }),
        responses: { 200: { description: 'Success.' }, ...(body && errorResponses()) },
      },
    }
  }
  return {
    openapi: '3.1.0',
    info: { title: 'PHSA inference server', version: '1', description: 'The API of OpenAI for one model with sparse attention.' },
    paths,
    components: {
      schemas: { Error: z.toJSONSchema(errorSchema) },
      securitySchemes: { key: { type: 'http', scheme: 'bearer', description: 'Where the server has keys.' } },
    },
    security: [{ key: [] }],
  }
}

const errorSchema = z.object({
  error: z.object({ message: z.string(), type: z.string(), param: z.string().nullable(), code: z.string().nullable() }),
})

function errorResponses(): object {
  const content = { 'application/json': { schema: { $ref: '#/components/schemas/Error' } } }
  return Object.fromEntries(Object.entries(ERRORS).map(([status, description]) => [status, { description, content }]))
}

function bodySchema(schema: z.ZodType): object {
  const { $schema, ...described } = z.toJSONSchema(schema, { io: 'input', target: 'draft-2020-12' })
  return described
}
