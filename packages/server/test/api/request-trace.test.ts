import {
  type Attributes,
  type Context,
  propagation,
  type Span,
  type SpanContext,
  type SpanOptions,
  TraceFlags,
  trace,
} from '@opentelemetry/api'
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { Engine } from '../../src/engine/engine.js'
import { listen, post, type TestServer, tinyEngine, until } from './api-server.js'

/** A span as an SDK would keep it. */
class KeptSpan implements Span {
  readonly name: string
  readonly options: SpanOptions
  readonly parent: SpanContext | undefined
  readonly attributes: Attributes
  readonly id: number
  endedAt: unknown
  status = 0

  constructor(name: string, options: SpanOptions, context: Context, id: number) {
    this.name = name
    this.options = options
    this.parent = trace.getSpanContext(context)
    this.attributes = { ...options.attributes }
    this.id = id
  }
  spanContext(): SpanContext {
    return { traceId: this.parent?.traceId ?? '1'.repeat(32), spanId: String(this.id).padStart(16, '0'), traceFlags: TraceFlags.SAMPLED }
  }
  setAttribute(name: string, value: never): this {
    this.attributes[name] = value
    return this
  }
  setAttributes(attributes: Attributes): this {
    Object.assign(this.attributes, attributes)
    return this
  }
  setStatus({ code }: { code: number }): this {
    this.status = code
    return this
  }
  end(at?: unknown): void {
    if (this.endedAt !== undefined) throw new Error(`${this.name} ends twice`)
    this.endedAt = at ?? Date.now()
  }
  isRecording(): boolean {
    return true
  }
  addEvent = () => this
  addLink = () => this
  addLinks = () => this
  updateName = () => this
  recordException = () => undefined
}

const spans: KeptSpan[] = []
let engine: Engine
let server: TestServer
beforeAll(async () => {
  const startSpan = (name: string, options: SpanOptions = {}, context?: Context) => {
    spans.push(new KeptSpan(name, options, context!, spans.length + 1))
    return spans.at(-1)!
  }
  trace.setGlobalTracerProvider({ getTracer: () => ({ startSpan }) as never })
  propagation.setGlobalPropagator({
    inject: () => undefined,
    fields: () => [],
    extract: (context, carrier, getter) => {
      const [, traceId, spanId] = String(getter.get(carrier, 'traceparent') ?? '').split('-')
      return traceId ? trace.setSpanContext(context, { traceId, spanId, traceFlags: TraceFlags.SAMPLED }) : context
    },
  })
  engine = await tinyEngine()
  server = await listen(engine)
})
afterAll(async () => {
  await server.close()
  await engine.stop()
  trace.disable()
  propagation.disable()
})

/** Spans of the request that is made, once all have ended. */
async function spansOf(body: object, headers: Record<string, string> = {}, route = 'completions'): Promise<KeptSpan[]> {
  spans.length = 0
  const response = await post(`${server.url}/v1/${route}`, body, headers)
  await response.text()
  await until(() => spans.length > 0 && spans.every(({ endedAt }) => endedAt !== undefined))
  return [...spans]
}

test('a request has a span with its way through queue, prefill and decode, in the trace of whoever sent it', async () => {
  const traceId = 'ab'.repeat(16)
  const [request, ...parts] = await spansOf(
    { prompt: 'the fox', max_tokens: 4, ignore_eos: true },
    { traceparent: `00-${traceId}-${'cd'.repeat(8)}-01` },
  )
  expect(request.parent).toMatchObject({ traceId, spanId: 'cd'.repeat(8) })
  expect(request).toMatchObject({
    name: 'text_completion tiny',
    attributes: {
      'gen_ai.operation.name': 'text_completion',
      'gen_ai.request.model': 'tiny',
      'http.route': '/v1/completions',
      'http.response.status_code': 200,
      'gen_ai.usage.output_tokens': 4,
      'gen_ai.response.finish_reasons': ['length'],
      'gen_ai.latency.time_in_queue': expect.any(Number),
    },
  })
  expect(parts.map(({ name }) => name)).toEqual(['queue', 'prefill', 'decode'])
  for (const part of parts) expect(part.parent).toEqual(request.spanContext())
  expect(parts[0].endedAt).toBe(parts[1].options.startTime)
  expect(parts[1].endedAt).toBe(parts[2].options.startTime)
  expect(JSON.stringify(spans.map(({ attributes }) => attributes))).not.toContain('fox')
  await until(() => server.lines.length > 0)
  expect(server.lines.at(-1)).toMatchObject({ traceId })
})

test('every choice has its own way; streams and refusals end their spans', async () => {
  const many = await spansOf({ messages: [{ role: 'user', content: 'a' }], max_tokens: 3, n: 2, stream: true }, {}, 'chat/completions')
  expect(many[0]).toMatchObject({ name: 'chat tiny', parent: undefined })
  expect(many.filter(({ name }) => name === 'queue').length).toBe(2)
  const [refused, ...none] = await spansOf({ prompt: '' })
  expect(refused).toMatchObject({ status: 0, attributes: { 'http.response.status_code': 400, 'error.type': 'invalid_parameter' } })
  expect(none).toEqual([])
})
