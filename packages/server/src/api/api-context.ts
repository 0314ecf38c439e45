import type { TextTokenizer } from '@phsa/model'
import type { EngineClient } from '../engine/engine-client.js'
import type { Texts } from '../texts/texts.js'
import type { CompleteSettings } from './api-settings.js'
import type { RequestTurns } from './request-turns.js'
import type { ServerMetrics } from './server-metrics.js'
import type { TokenNames } from './token-names.js'

/** What the routes share; as long-lived as the server. */
export interface ApiContext {
  readonly engine: EngineClient
  readonly tokenizer: TextTokenizer
  /** Its work, where long texts hold nobody up. */
  readonly texts: Texts
  /** For answers, see `answerTokenizer`. */
  readonly answers: Pick<TextTokenizer, 'decode'>
  readonly names: TokenNames
  readonly modelName: string
  /** Seconds since 1970 at which the server started. */
  readonly created: number
  readonly settings: CompleteSettings
  readonly metrics: ServerMetrics
  /** For work of milliseconds. */
  readonly turns: RequestTurns
}
