import { InvalidConfigError, inWords } from '@phsa/core'
import type { SamplingSettings } from '@phsa/model'
import { givenFields } from '../given-fields.js'
import type { ApiKey } from './api-key.js'
import type { LogLine } from './log-line.js'

/** Whether requests are taken: `draining` answers 503 to them. */
export type ServerPhase = 'ready' | 'draining'

/** What whoever runs the server decides. */
export interface ApiSettings {
  /** Without keys every request is taken: only for servers that nobody else can reach. */
  readonly keys?: readonly ApiKey[]
  /** Ids that end a text: the model's. */
  readonly stopTokenIds: readonly number[]
  /** For requests that say nothing; what is left open here is OpenAI's default. */
  readonly sampling?: SamplingSettings
  /** Tokens of a chat answer where the request says nothing; default: all that fit. */
  readonly chatTokens?: number
  /** Largest body; default 64 KiB and 16 bytes for each token of the longest context: tokenizing more, only to refuse it, would hold others up. */
  readonly maxBodyBytes?: number
  /** Most of `n` and of `best_of`; default 16. */
  readonly maxChoices?: number
  /** Most prompts of one completion; default 64. */
  readonly maxPrompts?: number
  /** Origins that browsers may call from, as they write them: `https://example.com`, `http://localhost:3000`; default none: no CORS headers at all. */
  readonly allowedOrigins?: readonly string[]
  /** A folder of static files that are served beside the API, `/` being its index.html, without a key; default none. */
  readonly pages?: string
  /** Default: always ready. */
  readonly phase?: () => ServerPhase
  /** One line a request, never with text of prompts or answers; default: nowhere. */
  readonly log?: (line: LogLine) => void
  /** Milliseconds, never running backwards; default `performance.now`. */
  readonly now?: () => number
}

/** Settings with nothing left open. */
export type CompleteSettings = Required<Omit<ApiSettings, 'chatTokens' | 'pages'>> & Pick<ApiSettings, 'chatTokens' | 'pages'>

/**
 * @param maxTokens of prompt and answer together
 * @throws InvalidConfigError for an origin that no browser sends
 */
export function completeSettings(settings: ApiSettings, maxTokens: number): CompleteSettings {
  const wrong = settings.allowedOrigins?.find((origin) => !/^[a-z][a-z\d+.-]*:\/\/[^\s/*A-Z]+$/.test(origin))
  if (wrong !== undefined) {
    throw new InvalidConfigError(
      'allowedOrigins',
      `${inWords(wrong)} is no origin, which is a scheme, a host and maybe a port: give one as browsers write it, such as https://example.com.`,
    )
  }
  return {
    keys: [],
    sampling: {},
    maxBodyBytes: 2 ** 16 + 16 * maxTokens,
    maxChoices: 16,
    maxPrompts: 64,
    allowedOrigins: [],
    phase: () => 'ready',
    log: () => undefined,
    now: () => performance.now(),
    ...givenFields(settings),
  }
}
