import fc from 'fast-check'
import { expect, test } from 'vitest'
import type { ApiContext } from '../../src/api/api-context.js'
import { ChatShape } from '../../src/api/chat-shape.js'
import { ToolCalls, teachesToolCalls } from '../../src/api/tool-calls.js'

const WEATHER = '<tool_call>\n{"name": "weather", "arguments": {"place": "Ulm"}}\n</tool_call>'
const TIME = '<tool_call>{"name":"time"}</tool_call>'
const weather = { name: 'weather', arguments: '{"place":"Ulm"}' }
const time = { name: 'time', arguments: '{}' }

function parsed(pieces: readonly string[]) {
  const calls = new ToolCalls()
  const parts = [...pieces.map((piece) => calls.push(piece)), calls.end()]
  return { text: parts.map(({ text }) => text).join(''), calls: parts.flatMap((part) => part.calls), found: calls.found }
}

test('calls are taken out of the text, and what is no call stays', () => {
  expect(parsed([`Let me see.\n${WEATHER}\n${TIME}`])).toEqual({ text: 'Let me see.\n', calls: [weather, time], found: 2 })
  expect(parsed([`\n\n${WEATHER}\n`])).toEqual({ text: '', calls: [weather], found: 1 })
  expect(parsed([`${WEATHER}\nDone.`])).toEqual({ text: '\nDone.', calls: [weather], found: 1 })
  for (const text of [
    'no call at all',
    ' \n',
    '<tool_call>{"name": 3}</tool_call>',
    '<tool_call>[]</tool_call>',
    '<tool_call>null</tool_call>',
    '<tool_call>{"name":"f","arguments":[1]}</tool_call>',
    '<tool_call>not JSON</tool_call>',
    '<tool_call>{"name":"f"',
    '</tool_call> <tool_cal',
  ]) {
    expect(parsed([text])).toEqual({ text, calls: [], found: 0 })
  }
})

test('what follows the last call that is wanted is dropped', () => {
  const text = `Wait.${WEATHER} ${TIME}${TIME}!`
  for (const pieces of [[text], [...text]]) {
    const calls = new ToolCalls(2)
    const parts = [...pieces.map((piece) => calls.push(piece)), calls.end()]
    expect(parts.flatMap((part) => part.calls)).toEqual([weather, time])
    expect([parts.map((part) => part.text).join(''), calls.isFull]).toEqual(['Wait.', true])
  }
})

test('it does not matter where the pieces end', () => {
  const part = fc.constantFrom('a', ' b<', '<tool_call>', '</tool_call>', WEATHER, TIME, '{"name":"f"}', '\n', '<tool_', '🦊')
  fc.assert(
    fc.property(fc.array(part, { maxLength: 8 }), fc.infiniteStream(fc.integer({ min: 1, max: 9 })), (parts, sizes) => {
      const text = parts.join('')
      const characters = [...text]
      const pieces: string[] = []
      while (characters.length > 0) pieces.push(characters.splice(0, sizes.next().value).join(''))
      expect(parsed(pieces)).toEqual(parsed([text]))
    }),
  )
})

test('only templates that teach this form are taken', () => {
  expect(teachesToolCalls('{% if tools %}<tool_call>{"name": <function-name>}</tool_call>{% endif %}')).toBe(true)
  expect(teachesToolCalls('{% if tools %}[TOOL_CALLS]{% endif %}')).toBe(false)
})

test('answers have calls in the form of the API, whole and streamed', () => {
  const context = { modelName: 'tiny' } as ApiContext
  const shape = new ChatShape({ id: 'x', logprobs: false, mostCalls: Number.POSITIVE_INFINITY }, context)
  const usage = { promptTokens: 3, cachedTokens: 0, completionTokens: 5, activatedTokens: 1, visibleTokens: 1 }
  const end = { type: 'end', reason: 'stop', usage } as const
  const started = { type: 'started', cachedTokens: 0, queuedMilliseconds: 0, promptLogprobs: undefined } as const
  const first = { id: 'call-x-0-0', type: 'function', function: weather }
  const second = { id: 'call-x-0-1', type: 'function', function: time }
  const answer = (text: string) => shape.whole([{ index: 0, started, text, tokens: [], end }], {} as never)
  expect(answer(`${WEATHER}${TIME}`)).toMatchObject({
    choices: [{ message: { role: 'assistant', content: null, tool_calls: [first, second] }, finish_reason: 'tool_calls' }],
  })
  expect(answer('It rains.')).toMatchObject({ choices: [{ message: { content: 'It rains.' }, finish_reason: 'stop' }] })
  expect(answer('')).toMatchObject({ choices: [{ message: { content: '' }, finish_reason: 'stop' }] })

  const deltas = ['Wait. <tool', WEATHER.slice(5), TIME, '<tool_'].map((text) => shape.chunk(0, { type: 'text', text, tokens: [] }))
  expect([...deltas, shape.chunk(0, end)]).toMatchObject([
    { choices: [{ delta: { content: 'Wait. ' }, finish_reason: null }] },
    { choices: [{ delta: { tool_calls: [{ index: 0, ...first }] }, finish_reason: null }] },
    { choices: [{ delta: { tool_calls: [{ index: 1, ...second }] }, finish_reason: null }] },
    { choices: [{ delta: {}, finish_reason: null }] },
    { choices: [{ delta: { content: '<tool_' }, finish_reason: 'tool_calls' }] },
  ])
})
