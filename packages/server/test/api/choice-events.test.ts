import fc from 'fast-check'
import { expect, test } from 'vitest'
import { choiceEvents } from '../../src/api/choice-events.js'
import type { EngineEvent, EngineRequest } from '../../src/engine/engine-client.js'

/** A token is a run of bytes: texts are cut anywhere, also inside of characters. */
function tokensOf(bytes: Uint8Array, cuts: readonly number[]): Uint8Array[] {
  const places = [...new Set([0, ...cuts.map((cut) => cut % (bytes.length + 1)), bytes.length])].sort((a, b) => a - b)
  return places.slice(1).map((end, index) => bytes.subarray(places[index], end))
}

const request: EngineRequest = {
  prompt: new Int32Array(1),
  maxTokens: 1000,
  sampling: {
    temperature: 0,
    topP: 1,
    topK: 0,
    minP: 0,
    seed: 0,
    repetitionPenalty: 1,
    presencePenalty: 0,
    frequencyPenalty: 0,
    logitBias: [],
  },
  logprobs: 0,
  stopTokenIds: [],
  salt: '',
}

/** Gives the tokens of a text, the first being the prompt's. */
function engineOf(tokens: readonly Uint8Array[]) {
  const given: number[] = []
  async function* generate(): AsyncGenerator<EngineEvent> {
    yield { type: 'started', cachedTokens: 0, queuedMilliseconds: 0 }
    for (let id = 1; id < tokens.length; id++) {
      given.push(id)
      yield { type: 'token', id, logprob: -id, top: [] }
    }
    const usage = { promptTokens: 1, cachedTokens: 0, completionTokens: tokens.length - 1, activatedTokens: 1, visibleTokens: 1 }
    yield { type: 'end', reason: 'length', usage }
  }
  const decode = (ids: ArrayLike<number>) => new TextDecoder().decode(Uint8Array.from(Array.from(ids).flatMap((id) => [...tokens[id]])))
  return { engine: { generate }, tokenizer: { decode }, given }
}

/** The first stop string that is complete, the longest of those. */
function cutAt(text: string, stop: readonly string[]): string {
  for (let end = 1; end <= text.length; end++) {
    const starts = stop.filter((entry) => text.slice(0, end).endsWith(entry)).map((entry) => end - entry.length)
    if (starts.length > 0) return text.slice(0, Math.min(...starts))
  }
  return text
}

const letters = fc.string({ unit: fc.constantFrom('a', 'b', ' ', 'é', '—', '🙂', '👩‍🚀'), maxLength: 40 })
const stops = fc.array(fc.string({ unit: fc.constantFrom('a', 'b', ' ', 'é', '🙂'), minLength: 1, maxLength: 4 }), { maxLength: 4 })

test('wherever tokens are cut, pieces hold whole characters and no part of a stop string, and are the text before it', async () => {
  await fc.assert(
    fc.asyncProperty(letters, stops, fc.array(fc.nat(), { maxLength: 60 }), async (text, stop, cuts) => {
      const tokens = [new TextEncoder().encode('.'), ...tokensOf(new TextEncoder().encode(text), cuts)]
      const { engine, tokenizer, given } = engineOf(tokens)
      const expected = cutAt(text, stop)
      let got = ''
      let reason: string | undefined
      const places: [number, number][] = []
      for await (const event of choiceEvents(engine, request, { tokenizer, stop })) {
        if (event.type === 'text') {
          // Nothing is ever taken back.
          got += event.text
          expect(expected.startsWith(got)).toBe(true)
          expect(/\p{Surrogate}|\uFFFD/u.test(event.text)).toBe(false)
          for (const { id, offset } of event.tokens) places.push([id, offset])
        }
        if (event.type === 'end') {
          reason = event.reason
          expect(event.usage.completionTokens).toBe(given.length)
        }
      }
      expect(got).toBe(expected)
      expect(reason).toBe(expected === text && !stop.some((entry) => text.includes(entry)) ? 'length' : 'stop')
      // Tokens come in order, each with the characters that were whole before it.
      expect(places.map(([id]) => id)).toEqual(places.map((_, index) => index + 1))
      for (const [id, offset] of places) {
        const before = new TextDecoder().decode(Uint8Array.from(tokens.slice(1, id).flatMap((bytes) => [...bytes])))
        expect(offset).toBe(before.replace(/\uFFFD+$/u, '').length)
      }
      if (reason === 'length') expect(places).toHaveLength(tokens.length - 1)
    }),
    { numRuns: 500 },
  )
})

test('bytes that never become a character come as U+FFFD at the end', async () => {
  const { engine, tokenizer } = engineOf([Uint8Array.of(46), Uint8Array.of(97), Uint8Array.of(0xf0), Uint8Array.of(0x9f)])
  const texts: string[] = []
  for await (const event of choiceEvents(engine, request, { tokenizer, stop: [] })) if (event.type === 'text') texts.push(event.text)
  expect(texts).toEqual(['a', '\uFFFD'])
})
