import type { DecoderModel } from '@phsa/model'
import type { InferenceServer } from '@phsa/server'
import { topicBatch } from '../model/bench-weights.js'
import type { StreamAnswer, StreamRequest } from './client-streams.js'
import type { Clients } from './open-clients.js'
import type { ServePlan } from './serve-plan.js'
import type { StepWatch } from './step-watch.js'

/** What every measurement works with. */
export interface ServeContext {
  readonly plan: ServePlan
  readonly model: DecoderModel
  readonly server: InferenceServer
  readonly clients: Clients
  readonly watch: StepWatch
  /** A measured point may take so long. */
  readonly limitMilliseconds: number
}

/** Names of the keys that the server knows. */
export const SERVE_KEYS = ['first', 'second', 'third', 'fourth'] as const

/** A prompt of random tokens that stay with a topic for a while, as a trained model's do; every seed gives another one. */
export function servePrompt({ config }: ServePlan, length: number, seed: number): number[] {
  return [...topicBatch(length, config.vocabSize, seed).ids]
}

/** Greedy and without log-probabilities unless told otherwise. */
export function streamRequest(request: Partial<StreamRequest> & Pick<StreamRequest, 'prompt' | 'maxTokens'>): StreamRequest {
  return { dense: false, temperature: 0, seed: 1, logprobs: false, key: SERVE_KEYS[0], ...request }
}

/** Runs streams to their ends, or until the first one's. @throws Error */
export function runStreams(context: ServeContext, requests: readonly StreamRequest[], together = false): Promise<readonly StreamAnswer[]> {
  const { clients, server, limitMilliseconds } = context
  return clients.run({ url: server.url, requests, limitMilliseconds, together })
}
