import { Counter, Gauge, Histogram, Registry } from 'prom-client'
import type { EngineClient, EngineStats } from '../engine/engine-client.js'

/** Seconds; from a token on a fast GPU to a long prompt on a slow one. */
const LATENCY_BUCKETS = [0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 20, 40, 80, 160, 640]
const TOKEN_BUCKETS = [1, 10, 100, 500, 1000, 2000, 5000, 10_000, 20_000, 50_000, 100_000, 200_000]

/** What GET /metrics shows: the names of vLLM with `phsa:` in front, and every one with the model's name. */
export class ServerMetrics {
  readonly #registry = new Registry()
  readonly #engine: Pick<EngineClient, 'stats'>
  readonly #fromEngine: ((stats: EngineStats) => void)[] = []
  readonly #timeToFirstToken: Histogram
  readonly #betweenTokens: Histogram
  readonly #wholeRequest: Histogram
  readonly #promptLength: Histogram
  readonly #answerLength: Histogram
  readonly #finished: Counter
  readonly #requests: Counter

  constructor(engine: Pick<EngineClient, 'stats'>, modelName: string) {
    this.#engine = engine
    this.#registry.setDefaultLabels({ model_name: modelName })
    this.#gauge('num_requests_running', 'Texts in the making.', ({ running }) => running)
    this.#gauge('num_requests_waiting', 'Texts that wait for a place.', ({ waiting }) => waiting)
    this.#gauge('kv_cache_usage_perc', 'Share of pages that requests hold; 1 is all.', ({ pagesUsed, pagesTotal }) =>
      pagesTotal === 0 ? 0 : pagesUsed / pagesTotal,
    )
    this.#total('prefix_cache_queries_total', 'Prompt tokens that were looked up among cached prompts.', (stats) => stats.promptTokens)
    this.#total('prefix_cache_hits_total', 'Prompt tokens that were found there.', (stats) => stats.prefixHitTokens)
    this.#total('num_preemptions_total', 'Texts that gave up their pages for others.', (stats) => stats.preemptions)
    this.#total('prompt_tokens_total', 'Prompt tokens taken in.', (stats) => stats.promptTokens)
    this.#total('generation_tokens_total', 'Tokens made.', (stats) => stats.tokensMade)
    this.#total('engine_steps_total', 'Steps of the engine.', (stats) => stats.steps)
    this.#total('activated_tokens_total', 'Keys that queries attended to.', (stats) => stats.activatedTokens)
    this.#total('visible_tokens_total', 'Keys that dense attention would have attended to.', (stats) => stats.visibleTokens)
    this.#total('attention_recall_count_total', 'Steps whose attention-mass recall was measured.', (stats) => stats.recallSamples)
    this.#total('attention_recall_sum_total', 'Their recalls together, 0 to 1 each.', (stats) => stats.recallSum)
    this.#timeToFirstToken = this.#histogram('time_to_first_token_seconds', 'From the request to its first token.', LATENCY_BUCKETS)
    this.#betweenTokens = this.#histogram('inter_token_latency_seconds', 'From a token to the next of its text.', LATENCY_BUCKETS)
    this.#wholeRequest = this.#histogram('e2e_request_latency_seconds', 'From the request to the end of a text.', LATENCY_BUCKETS)
    this.#promptLength = this.#histogram('request_prompt_tokens', 'Tokens of a prompt.', TOKEN_BUCKETS)
    this.#answerLength = this.#histogram('request_generation_tokens', 'Tokens of a text.', TOKEN_BUCKETS)
    this.#finished = this.#counter('request_success_total', 'Texts that came to their end.', 'finished_reason')
    this.#requests = this.#counter('http_requests_total', 'Requests that were answered.', 'route', 'status')
  }

  /** Content type of `text`. */
  get contentType(): string {
    return this.#registry.contentType
  }

  /** All metrics, as Prometheus reads them. @throws what the engine's stats throw */
  async text(): Promise<string> {
    const stats = await this.#engine.stats()
    for (const take of this.#fromEngine) take(stats)
    return this.#registry.metrics()
  }

  /** Times are milliseconds. */
  firstToken(sinceRequest: number): void {
    this.#timeToFirstToken.observe(sinceRequest / 1000)
  }

  nextToken(sinceLast: number): void {
    this.#betweenTokens.observe(sinceLast / 1000)
  }

  choiceEnded(
    reason: 'stop' | 'length',
    { promptTokens, completionTokens }: { promptTokens: number; completionTokens: number },
    since: number,
  ): void {
    this.#finished.inc({ finished_reason: reason })
    this.#promptLength.observe(promptTokens)
    this.#answerLength.observe(completionTokens)
    this.#wholeRequest.observe(since / 1000)
  }

  requestEnded(route: string, status: number): void {
    this.#requests.inc({ route, status })
  }

  #gauge(name: string, help: string, of: (stats: EngineStats) => number): void {
    const gauge = new Gauge({ name: `phsa:${name}`, help, registers: [this.#registry] })
    this.#fromEngine.push((stats) => gauge.set(of(stats)))
  }

  /** A counter that the engine keeps. */
  #total(name: string, help: string, of: (stats: EngineStats) => number): void {
    const counter = new Counter({ name: `phsa:${name}`, help, registers: [this.#registry] })
    this.#fromEngine.push((stats) => {
      counter.reset()
      counter.inc(of(stats))
    })
  }

  #counter(name: string, help: string, ...labelNames: string[]): Counter {
    return new Counter({ name: `phsa:${name}`, help, labelNames, registers: [this.#registry] })
  }

  #histogram(name: string, help: string, buckets: number[]): Histogram {
    return new Histogram({ name: `phsa:${name}`, help, buckets, registers: [this.#registry] })
  }
}
