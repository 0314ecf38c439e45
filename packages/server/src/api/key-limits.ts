import { ApiError } from './api-error.js'
import type { ApiKey } from './api-key.js'

/**
 * What one API key may still use. Tokens are a debt that melts: a request is taken while there is none left, and pays for what it really used, so
 * that no request is too long for the limit and over minutes the rate holds.
 */
export class KeyLimits {
  readonly #key: ApiKey
  readonly #now: () => number
  #running = 0
  /** Tokens used beyond what `tokensPerMinute` has given back, less a minute's worth of burst. */
  #used = 0
  #settledAt: number

  constructor(key: ApiKey, now: () => number) {
    this.#key = key
    this.#now = now
    this.#settledAt = now()
  }

  /**
   * Takes the place of so many texts.
   * @returns gives it back, once
   * @throws ApiError 429 with the seconds to wait, 400 for more texts than the key ever has at once
   */
  enter(texts: number): () => void {
    const { maxConcurrent = Number.POSITIVE_INFINITY, tokensPerMinute } = this.#key
    if (texts > maxConcurrent) {
      throw new ApiError(
        400,
        `the request asks for ${texts} texts at once; this API key may have ${maxConcurrent}. Ask for fewer choices or prompts.`,
        {
          param: 'n',
        },
      )
    }
    if (this.#running + texts > maxConcurrent) {
      throw new ApiError(429, `this API key has ${this.#running} texts in the making and may have ${maxConcurrent}; wait for one to end.`, {
        code: 'concurrency_limit_exceeded',
        retryAfter: 1,
      })
    }
    if (tokensPerMinute !== undefined) {
      this.#settle(tokensPerMinute)
      const over = this.#used - tokensPerMinute
      if (over >= 0) {
        const seconds = Math.max(1, Math.ceil(((over + 1) / tokensPerMinute) * 60))
        throw new ApiError(429, `this API key has used its ${tokensPerMinute} tokens a minute; try again in ${seconds} s.`, {
          code: 'token_limit_exceeded',
          retryAfter: seconds,
        })
      }
    }
    this.#running += texts
    let inside = true
    return () => {
      if (inside) this.#running -= texts
      inside = false
    }
  }

  /** Notes tokens that were read or made. */
  charge(tokens: number): void {
    this.#used += tokens
  }

  #settle(tokensPerMinute: number): void {
    const now = this.#now()
    this.#used = Math.max(0, this.#used - ((now - this.#settledAt) / 60_000) * tokensPerMinute)
    this.#settledAt = now
  }
}
