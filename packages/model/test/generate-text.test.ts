import { expect, test } from 'vitest'
import { type DecoderModel, type GenerateTextOptions, generate, generateText } from '../src/index.js'
import { testedBackends } from './backends.js'
import { tinyModel } from './tiny-model.js'

/** The bytes of each of the model's 29 ids: letters, a blank, and bytes of characters that have several. */
const bytesOfIds = [...'abcdefghijklmnopqrs'].map((letter) => [letter.charCodeAt(0)])
bytesOfIds.push([0xc3], [0xa9], [0xe2], [0x80], [0x94], [0xf0], [0x9f], [0x99], [0x82], [0x20])

const tokenizer = {
  encode: (text: string) => Int32Array.from(text, (letter) => bytesOfIds.findIndex(([byte]) => byte === letter.charCodeAt(0))),
  decode: (ids: ArrayLike<number>) => new TextDecoder().decode(Uint8Array.from(Array.from(ids).flatMap((id) => bytesOfIds[id]))),
}
const prompt = 'a bad cabbage'
const drawn: GenerateTextOptions = { maxNewTokens: 60, sampling: { temperature: 4, seed: 11 } }

async function pieces(model: DecoderModel, options: GenerateTextOptions): Promise<string[]> {
  const given: string[] = []
  for await (const piece of generateText(model, tokenizer, prompt, options)) given.push(piece)
  return given
}

async function withModel(run: (model: DecoderModel) => Promise<void>): Promise<void> {
  const backend = await testedBackends[0].create()
  const model = await tinyModel(backend)
  const before = backend.memory.usage()
  await run(model)
  expect(backend.memory.usage()).toEqual(before)
  backend.dispose()
}

test('the same seed gives the same text on every backend', async () => {
  const texts: string[] = []
  for (const { create } of testedBackends) {
    const backend = await create()
    texts.push((await pieces(await tinyModel(backend), drawn)).join(''))
    backend.dispose()
  }
  expect(texts[0].length).toBeGreaterThan(30)
  expect(new Set(texts).size).toBe(1)
})

test('pieces are never empty, never end inside of a character, and joined are the decoding of all ids', () =>
  withModel(async (model) => {
    const ids: number[] = []
    for await (const id of generate(model, tokenizer.encode(prompt), drawn)) ids.push(id)
    const whole = tokenizer.decode(ids)
    // Drawn at random, the bytes of characters rarely fit together: some stay broken for good, and pieces wait for what could still come.
    expect(whole).toContain('\uFFFD')
    const given = await pieces(model, drawn)
    expect(given.join('')).toBe(whole)
    expect(given).not.toContain('')
    expect(given.slice(0, -1).filter((piece) => piece.endsWith('\uFFFD'))).toEqual([])
    expect(await pieces(model, { ...drawn, maxNewTokens: 0 })).toEqual([])
  }))

test('a stop string over tokens ends the text exactly before it, and no part of it is given out', () =>
  withModel(async (model) => {
    const whole = (await pieces(model, drawn)).join('')
    // Every token is one byte, so every stop string of several letters spans tokens.
    const at = [...whole.matchAll(/[a-s]{3}/g)].map(({ index }) => index).find((index) => index > 4)!
    const stop = whole.slice(at, at + 3)
    const expected = whole.slice(0, whole.indexOf(stop))
    for (const stops of [[stop], ['never this', stop], [`${stop}!`, stop]]) {
      let given = ''
      for await (const piece of generateText(model, tokenizer, prompt, { ...drawn, stop: stops })) {
        given += piece
        expect(expected.startsWith(given)).toBe(true)
      }
      expect(given).toBe(expected)
    }
  }))

test('a stop string that never comes to its end is given out', () =>
  withModel(async (model) => {
    const whole = (await pieces(model, drawn)).join('')
    expect((await pieces(model, { ...drawn, stop: [`${whole.slice(-6)}!`] })).join('')).toBe(whole)
  }))

test('an abort between pieces ends it with its reason', () =>
  withModel(async (model) => {
    const controller = new AbortController()
    let given = 0
    const run = async () => {
      for await (const _piece of generateText(model, tokenizer, prompt, { ...drawn, signal: controller.signal })) {
        given++
        controller.abort(new Error('enough'))
      }
    }
    await expect(run()).rejects.toThrow('enough')
    expect(given).toBe(1)
  }))

test('a caller that stops asking frees everything', () =>
  withModel(async (model) => {
    for await (const piece of generateText(model, tokenizer, prompt, drawn)) {
      expect(piece).not.toBe('')
      break
    }
  }))

test.each<[GenerateTextOptions, string, RegExp]>([
  [{ ...drawn, stop: [''] }, prompt, /stop\[0\] is empty/],
  [{ ...drawn, sampling: { topP: 2 } }, prompt, /sampling\.topP is 2/],
  [drawn, '', /the prompt has no tokens/],
])('it refuses what it cannot do', (options, text, message) =>
  withModel(async (model) => {
    await expect(generateText(model, tokenizer, text, options).next()).rejects.toThrow(message)
  }),
)
