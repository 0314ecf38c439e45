import { randomUUID } from 'node:crypto'
import { serveStatic } from '@hono/node-server/serve-static'
import { InvalidConfigError } from '@phsa/core'
import type { TextTokenizer } from '@phsa/model'
import { type Context, Hono, type MiddlewareHandler } from 'hono'
import { bodyLimit } from 'hono/body-limit'
import { cors } from 'hono/cors'
import { matchedRoutes, routePath } from 'hono/route'
import type { ContentfulStatusCode } from 'hono/utils/http-status'
import type { EngineClient } from '../engine/engine-client.js'
import { isLoopback } from '../listen/is-loopback.js'
import { InlineTexts, type Texts } from '../texts/texts.js'
import { answerTokenizer } from './answer-tokenizer.js'
import type { ApiContext } from './api-context.js'
import type { ApiEnvironment } from './api-environment.js'
import { ApiError, apiErrorOf } from './api-error.js'
import { ApiKeys } from './api-key.js'
import { type ApiSettings, completeSettings } from './api-settings.js'
import { callersOf } from './caller.js'
import { chatCompletions } from './chat-completions.js'
import { completions } from './completions.js'
import { live, ready } from './health-routes.js'
import { getModel, listModels } from './model-routes.js'
import { openApiDocument } from './open-api-document.js'
import { refuseLargeBody } from './refuse-large-body.js'
import { RequestRecord } from './request-record.js'
import { RequestTrace, type TracedOperation } from './request-trace.js'
import { RequestTurns } from './request-turns.js'
import { ServerMetrics } from './server-metrics.js'
import { TokenNames } from './token-names.js'
import { detokenize, tokenize } from './token-routes.js'

/** What the API is made of. */
export interface ApiOptions {
  readonly engine: EngineClient
  /** Its settings hold the chat template. */
  readonly tokenizer: TextTokenizer
  /** Of the same tokenizer; default: in this thread. */
  readonly texts?: Texts
  /** What requests and answers call the model. */
  readonly modelName: string
  readonly settings: ApiSettings
}

/**
 * The HTTP API: a Hono application, whose `fetch` any server takes that aborts a request's signal when its client leaves (@hono/node-server does).
 * It keeps nothing but counters, so several may stand behind a router.
 * @throws InvalidConfigError for unusable keys
 */
export function createApi({
  engine,
  tokenizer,
  texts = new InlineTexts(tokenizer),
  modelName,
  settings: given,
}: ApiOptions): Hono<ApiEnvironment> {
  if (modelName === '') throw new InvalidConfigError('modelName', 'the model has no name; requests ask for one by it.')
  const settings = completeSettings(given, engine.limits.maxTokens)
  const metrics = new ServerMetrics(engine, modelName)
  const context: ApiContext = {
    engine,
    tokenizer,
    texts,
    answers: answerTokenizer(tokenizer),
    names: new TokenNames(tokenizer.json),
    modelName,
    created: Math.floor(Date.now() / 1000),
    settings,
    metrics,
    turns: new RequestTurns(),
  }
  const document = openApiDocument()
  const app = new Hono<ApiEnvironment>()

  app.use(recorded(context))
  if (settings.allowedOrigins.length > 0)
    app.use(cors({ origin: [...settings.allowedOrigins], exposeHeaders: ['x-request-id', 'retry-after'] }))
  app.get('/health', (c) => ready(c, settings.phase()))
  app.get('/health/ready', (c) => ready(c, settings.phase()))
  app.get('/health/live', (c) => live(c, settings.phase()))

  app.use(inTurn(context))
  app.use(askedLocally(context))
  // Before keys are asked for: a browser sends none with the address of a page.
  if (settings.pages !== undefined) {
    // The page learns from this that an API is there (RFC 8631).
    const onFound = (_path: string, c: Context) => c.header('link', '</openapi.json>; rel="service-desc"')
    app.use(serveStatic({ root: settings.pages, onFound }))
  }
  app.use(authenticated(context))
  app.post('*', limitedBody(settings.maxBodyBytes))
  app.get('/v1/models', (c) => listModels(c, context))
  app.get('/v1/models/:name{.+}', (c) => getModel(c, context))
  app.get('/metrics', async (c) => c.body(await metrics.text(), 200, { 'content-type': metrics.contentType }))
  app.get('/openapi.json', (c) => c.json(document))
  app.post('/tokenize', (c) => tokenize(c, context))
  app.post('/detokenize', (c) => detokenize(c, context))
  app.post('/v1/embeddings', () => {
    throw new ApiError(400, 'embeddings are not supported: this server continues texts; use /v1/completions or /v1/chat/completions.', {
      code: 'unsupported',
    })
  })
  const taking = takesRequests(context)
  app.post('/v1/completions', taking, traced('text_completion', context), (c) => completions(c, context))
  app.post('/v1/chat/completions', taking, traced('chat', context), (c) => chatCompletions(c, context))

  app.notFound((c) =>
    failed(c, new ApiError(404, `there is no such route for ${c.req.method}; GET /openapi.json lists them.`, { code: 'unknown_route' })),
  )
  app.onError((error, c) => failed(c, apiErrorOf(error, c.req.raw.signal.aborted)))
  return app
}

/** A request's id and its log line. A stream writes its own, when it ends. */
function recorded({ settings, metrics }: ApiContext): MiddlewareHandler<ApiEnvironment> {
  return async (c, next) => {
    const asked = c.req.header('x-request-id')
    const id = asked !== undefined && /^[\w.:-]{1,128}$/.test(asked) ? asked : randomUUID()
    const record = new RequestRecord({ id, method: c.req.method, route: routeOf(c) }, settings, metrics)
    c.set('record', record)
    c.header('x-request-id', id)
    await next()
    if (!record.isStreaming) record.end(c.res.status, c.error)
  }
}

/** The route that answers, as it is declared; `/*` where none does. Handlers of all routes are declared after those of health. */
function routeOf(c: Context<ApiEnvironment>): string {
  return matchedRoutes(c).findLast(({ path }) => path !== '/*')?.path ?? '/*'
}

/** What follows takes milliseconds; who has left by then is not worked for. */
function inTurn({ turns }: ApiContext): MiddlewareHandler<ApiEnvironment> {
  return async (c, next) => {
    await turns.next()
    if (c.req.raw.signal.aborted) throw apiErrorOf(c.req.raw.signal.reason, true)
    await next()
  }
}

/** A body that says how long it is needs no counting, which would make a stream of it. */
function limitedBody(maxBytes: number): MiddlewareHandler<ApiEnvironment> {
  const counted = bodyLimit({ maxSize: maxBytes, onError: (c) => refuseLargeBody(c, maxBytes) })
  return (c, next) => {
    const isShort = Number(c.req.header('content-length')) <= maxBytes && c.req.header('transfer-encoding') === undefined
    return isShort ? next() : counted(c, next)
  }
}

function authenticated({ settings }: ApiContext): MiddlewareHandler<ApiEnvironment> {
  const keys = new ApiKeys(settings.keys)
  const callers = callersOf(settings.keys, settings.now)
  return async (c, next) => {
    if (keys.required) {
      const key = keys.find(c.req.header('authorization'))
      if (!key)
        throw new ApiError(401, 'the API key is missing or wrong; send the header authorization: Bearer KEY.', { code: 'invalid_api_key' })
      c.get('record').caller = callers.get(key)!
    }
    await next()
  }
}

/**
 * Without keys only this machine is served, under its own name: a page whose domain was made to mean 127.0.0.1 would otherwise be of the same origin, and
 * could read answers.
 */
function askedLocally({ settings }: ApiContext): MiddlewareHandler<ApiEnvironment> {
  return async (c, next) => {
    const { hostname } = new URL(c.req.url)
    if (settings.keys.length === 0 && !isLoopback(hostname.replace(/^\[|\]$/g, ''))) {
      throw new ApiError(
        403,
        `the request is for the host ${hostname}; without API keys this server answers to localhost, 127.0.0.1 and [::1] alone. Ask under one of these, let a proxy send it as the Host header, or start the server with keys.`,
        { code: 'host_not_allowed' },
      )
    }
    await next()
  }
}

function takesRequests({ settings }: ApiContext): MiddlewareHandler<ApiEnvironment> {
  return async (_, next) => {
    const phase = settings.phase()
    if (phase !== 'ready') {
      throw new ApiError(503, `the server is ${phase} and takes no requests now; send it to another one, or try again later.`, {
        code: 'draining',
        retryAfter: 5,
      })
    }
    await next()
  }
}

function traced(operation: TracedOperation, { modelName }: ApiContext): MiddlewareHandler<ApiEnvironment> {
  return async (c, next) => {
    const record = c.get('record')
    record.trace = new RequestTrace({ operation, modelName, route: routePath(c, -1), requestId: record.id, headers: c.req.header() })
    await next()
  }
}

function failed(c: Context<ApiEnvironment>, error: ApiError): Response {
  if (error.retryAfter !== undefined) c.header('retry-after', String(error.retryAfter))
  if (error.status === 401) c.header('www-authenticate', 'Bearer')
  // 499 is no status of HTTP's, but nobody reads it any more.
  return c.json(error, error.status as ContentfulStatusCode)
}
