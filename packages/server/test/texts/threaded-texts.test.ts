import { expect, test } from 'vitest'
import { ApiError } from '../../src/api/api-error.js'
import type { TextAnswer, TextJob } from '../../src/texts/text-messages.js'
import { InlineTexts } from '../../src/texts/texts.js'
import { type TextThread, ThreadedTexts } from '../../src/texts/threaded-texts.js'
import { tinyTokenizer } from '../api/tiny-tokenizer.js'

const tokenizer = tinyTokenizer()
const LONG = 'the fox '.repeat(2000)

/** A thread that answers when it is told to. */
class ThreadStub implements TextThread {
  readonly jobs: TextJob[] = []
  answer: (answer: TextAnswer) => void = () => undefined
  fail: (reason: unknown) => void = () => undefined
  postMessage(job: TextJob): void {
    this.jobs.push(job)
  }
  on(event: string, take: (value: never) => void): void {
    if (event === 'message') this.answer = take as never
    if (event === 'error') this.fail = take as never
  }
}

function threaded() {
  const threads: ThreadStub[] = []
  const texts = new ThreadedTexts(new InlineTexts(tokenizer), () => {
    threads.push(new ThreadStub())
    return threads.at(-1)!
  })
  return { texts, threads }
}

const done = (value: number): TextAnswer => ({ type: 'done', result: Int32Array.of(value) })

test('short texts are done at once, without a thread', async () => {
  const { texts, threads } = threaded()
  expect(await texts.encode('the fox')).toEqual(tokenizer.encode('the fox'))
  expect(await texts.decode([261])).toBe(tokenizer.decode([261]))
  const messages = [{ role: 'user' as const, content: 'a' }]
  expect(tokenizer.decode(await texts.encodeChat({ messages }, true))).toContain('<|im_start|>assistant')
  expect(threads).toEqual([])
})

test('long ones go to one thread, one after the other', async () => {
  const { texts, threads } = threaded()
  const answers = [
    texts.encode(LONG),
    texts.decode(Array.from({ length: 5000 }, () => 1)),
    texts.encodeChat({ messages: [{ role: 'user', content: LONG }] }, false),
  ]
  expect(threads[0].jobs.map(({ type }) => type)).toEqual(['encode'])
  for (let index = 0; index < 3; index++) threads[0].answer(done(index))
  expect(await Promise.all(answers)).toEqual([0, 1, 2].map((value) => Int32Array.of(value)))
  expect(threads[0].jobs.map(({ type }) => type)).toEqual(['encode', 'decode', 'encode-chat'])
  expect(threads.length).toBe(1)
})

test('many empty messages are long, too', async () => {
  const { texts, threads } = threaded()
  const messages = Array.from({ length: 1000 }, () => ({ role: 'user' as const, content: '' }))
  const answer = texts.encodeChat({ messages }, false)
  expect(threads[0].jobs.map(({ type }) => type)).toEqual(['encode-chat'])
  threads[0].answer(done(1))
  expect(await answer).toEqual(Int32Array.of(1))
})

test('a client that leaves takes its text from the queue; what the thread is at ends for nobody', async () => {
  const { texts, threads } = threaded()
  const [first, second] = [new AbortController(), new AbortController()]
  const answers = [texts.encode(LONG, first.signal), texts.encode(`${LONG}2`, second.signal), texts.encode(`${LONG}3`)]
  second.abort(new Error('left'))
  first.abort(new Error('left first'))
  await expect(answers[0]).rejects.toThrow('left first')
  await expect(answers[1]).rejects.toThrow('left')
  threads[0].answer(done(1))
  expect(threads[0].jobs.at(-1)).toEqual({ type: 'encode', text: `${LONG}3` })
  threads[0].answer(done(3))
  expect(await answers[2]).toEqual(Int32Array.of(3))
  await expect(texts.encode(LONG, AbortSignal.abort(new Error('gone')))).rejects.toThrow('gone')
})

test('the queue is bounded; refusals and failures come back as what they are', async () => {
  const { texts, threads } = threaded()
  const answers = Array.from({ length: 65 }, () => texts.encode(LONG))
  await expect(texts.encode(LONG)).rejects.toMatchObject({ code: 'queue-full' })
  threads[0].answer({ type: 'refused', refusal: { status: 400, message: 'no', param: 'messages', code: null } })
  await expect(answers[0]).rejects.toEqual(new ApiError(400, 'no', { param: 'messages' }))
  threads[0].answer({ type: 'failed', error: { code: 'invalid-file', message: 'bad' } })
  await expect(answers[1]).rejects.toMatchObject({ code: 'invalid-file', message: 'bad' })
  for (let index = 2; index < 65; index++) threads[0].answer(done(index))
  expect((await Promise.all(answers.slice(2))).length).toBe(63)
})

test('a thread that fails costs the text that it is at; the next starts another', async () => {
  const { texts, threads } = threaded()
  const answers = [texts.encode(LONG), texts.encode(LONG)]
  threads[0].fail(new RangeError('out of memory'))
  await expect(answers[0]).rejects.toThrow('out of memory')
  expect(threads.length).toBe(2)
  threads[1].answer(done(7))
  expect(await answers[1]).toEqual(Int32Array.of(7))
})
