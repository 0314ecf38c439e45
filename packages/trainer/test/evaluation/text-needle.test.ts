import { fileURLToPath } from 'node:url'
import { RandomStream } from '@phsa/core'
import { TextTokenizer } from '@phsa/model'
import { expect, test } from 'vitest'
import { textNeedle } from '../../src/evaluation/text-needle.js'
import { letterTokenizer } from '../tiny-model.js'

const bytes = { encode: (text: string) => new TextEncoder().encode(text) }
const textOf = (ids: Int32Array) => new TextDecoder().decode(Uint8Array.from(ids))

test('asks for the number of the key that the needle names', () => {
  for (let seed = 0; seed < 50; seed++) {
    const { needle, question, answer } = textNeedle(bytes).trial(new RandomStream(seed))
    const [, key, code] = /^\nThe code of the (.+) is (\d{5})\.\n$/.exec(textOf(needle))!
    expect(textOf(question)).toBe(`\nWhat is the code of the ${key}? The code of the ${key} is`)
    expect(textOf(answer)).toBe(` ${code}`)
  }
})

test('the random numbers decide the trial', () => {
  const task = textNeedle(bytes)
  expect(task.trial(new RandomStream(4))).toEqual(task.trial(new RandomStream(4)))
  const answers = Array.from({ length: 30 }, (_, seed) => textOf(task.trial(new RandomStream(seed)).answer))
  expect(new Set(answers).size).toBeGreaterThan(25)
})

test('a token that joins question and answer belongs to the answer', () => {
  // 300 stands for "is " with the digit behind it.
  const joining = {
    encode: (text: string) => {
      const ids = [...new TextEncoder().encode(text)]
      const place = text.search(/is \d/)
      return place < 0 ? ids : [...ids.slice(0, place), 300 + Number(text[place + 3]), ...ids.slice(place + 4)]
    },
  }
  const { question, answer } = textNeedle(joining).trial(new RandomStream(9))
  expect(textOf(question).endsWith(' ')).toBe(true)
  expect(answer[0]).toBeGreaterThan(300)
  expect(answer).toHaveLength(5)
})

test('with a real vocabulary, needle and prompt read as they should', async () => {
  const tokenizer = await TextTokenizer.fromFolder(fileURLToPath(new URL('../../../../fixtures/tokenizer-8k', import.meta.url)))
  for (let seed = 0; seed < 20; seed++) {
    const { needle, question, answer } = textNeedle(tokenizer).trial(new RandomStream(seed))
    const [, key, code] = /The code of the (.+) is (\d{5})\./.exec(tokenizer.decode(needle))!
    expect(tokenizer.decode(question)).toContain(`The code of the ${key} is`)
    expect(tokenizer.decode(answer)).toBe(` ${code}`)
  }
})

test('refuses a tokenizer without digits', () => {
  expect(() => textNeedle(letterTokenizer)).toThrow('writes the ten digits in 1 ways')
})
