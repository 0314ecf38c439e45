import { type Context, context, propagation, type Span, SpanKind, SpanStatusCode, trace } from '@opentelemetry/api'
import type { ApiError } from './api-error.js'
import type { ChoiceUsage } from './choice-events.js'

/** `gen_ai.operation.name` of the semantic conventions. */
export type TracedOperation = 'chat' | 'text_completion'

/** What a trace is told of a request. */
export interface TracedRequest {
  readonly operation: TracedOperation
  readonly modelName: string
  readonly route: string
  readonly requestId: string
  /** Those of W3C say which trace the request is part of. */
  readonly headers: Readonly<Record<string, string>>
}

/**
 * Spans of one request, by the OpenTelemetry SDK that this thread was started with; without one nothing is kept. No text is in them. Names are those of
 * the semantic conventions, latencies those of vLLM.
 */
export class RequestTrace {
  readonly #span: Span
  readonly #context: Context
  readonly #startedAt = Date.now()

  constructor({ operation, modelName, route, requestId, headers }: TracedRequest) {
    const caller = propagation.extract(context.active(), headers)
    const attributes = {
      'gen_ai.operation.name': operation,
      'gen_ai.request.model': modelName,
      'gen_ai.request.id': requestId,
      'http.request.method': 'POST',
      'http.route': route,
    }
    this.#span = tracer().startSpan(`${operation} ${modelName}`, { kind: SpanKind.SERVER, attributes, startTime: this.#startedAt }, caller)
    this.#context = trace.setSpan(caller, this.#span)
  }

  /** Undefined where nobody keeps the spans. */
  get traceId(): string | undefined {
    return this.#span.isRecording() ? this.#span.spanContext().traceId : undefined
  }

  /** @param promptTokens of the choice's prompt */
  choice(promptTokens: number): ChoiceTrace {
    return new ChoiceTrace(this.#span, this.#context, this.#startedAt, promptTokens)
  }

  end(status: number, error: ApiError | undefined): void {
    this.#span.setAttribute('http.response.status_code', status)
    if (error) this.#span.setAttribute('error.type', error.code ?? String(error.status))
    if (status >= 500) this.#span.setStatus({ code: SpanStatusCode.ERROR })
    this.#span.end()
  }
}

/** The way of one choice: `queue`, `prefill`, `decode`, one after the other. */
export class ChoiceTrace {
  readonly #span: Span
  readonly #context: Context
  readonly #requestedAt: number
  readonly #promptTokens: number
  readonly #askedAt = Date.now()
  #queuedUntil: number | undefined
  #firstTokenAt: number | undefined
  #open: Span

  constructor(span: Span, parent: Context, requestedAt: number, promptTokens: number) {
    this.#span = span
    this.#context = parent
    this.#requestedAt = requestedAt
    this.#promptTokens = promptTokens
    this.#open = this.#child('queue', this.#askedAt)
  }

  /** Called when the engine tells that it has begun, which is after the first part of the prompt. */
  started({ cachedTokens, queuedMilliseconds }: { readonly cachedTokens: number; readonly queuedMilliseconds: number }): void {
    this.#queuedUntil = Math.min(Date.now(), this.#askedAt + queuedMilliseconds)
    this.#next('prefill', this.#queuedUntil)
    this.#open.setAttributes({ 'gen_ai.usage.input_tokens': this.#promptTokens, 'phsa.usage.cached_tokens': cachedTokens })
  }

  firstToken(): void {
    this.#firstTokenAt = Date.now()
    this.#next('decode', this.#firstTokenAt)
  }

  ended(reason: 'stop' | 'length', { completionTokens, activatedTokens, visibleTokens }: Required<ChoiceUsage>): void {
    const now = Date.now()
    this.#open.setAttributes({ 'gen_ai.usage.output_tokens': completionTokens })
    // Of the last choice that ends, where there are several.
    this.#span.setAttributes({
      'gen_ai.response.finish_reasons': [reason],
      'gen_ai.usage.input_tokens': this.#promptTokens,
      'gen_ai.usage.output_tokens': completionTokens,
      'phsa.usage.activated_tokens': activatedTokens,
      'phsa.usage.visible_tokens': visibleTokens,
      'gen_ai.latency.e2e': (now - this.#requestedAt) / 1000,
    })
    const queuedUntil = this.#queuedUntil ?? now
    const firstTokenAt = this.#firstTokenAt ?? now
    this.#span.setAttributes({
      'gen_ai.latency.time_in_queue': (queuedUntil - this.#askedAt) / 1000,
      'gen_ai.latency.time_to_first_token': (firstTokenAt - this.#requestedAt) / 1000,
      'gen_ai.latency.time_in_model_prefill': (firstTokenAt - queuedUntil) / 1000,
      'gen_ai.latency.time_in_model_decode': (now - firstTokenAt) / 1000,
    })
  }

  /** Ended, failed or left. */
  close(): void {
    this.#open.end()
  }

  #next(name: string, at: number): void {
    this.#open.end(at)
    this.#open = this.#child(name, at)
  }

  #child(name: string, startTime: number): Span {
    return tracer().startSpan(name, { startTime }, this.#context)
  }
}

/** Asked for each time: an SDK may be there only later. */
function tracer() {
  return trace.getTracer('@phsa/server')
}
