import { type HostArray, type ModelBackend, phsaPolicy, reference } from '@phsa/core'
import { PagedDecoder } from '@phsa/model'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { DecodeInputs } from '../../src/engine/decode-inputs.js'
import { LogitAdjustments } from '../../src/engine/logit-adjustments.js'
import type { StepInput } from '../../src/engine/step-input.js'
import { greedy, punctuation, sparsePhsa, tinyModel } from './tiny-engine.js'

const shape = { sequences: 4, queryTokens: 4, maxQueries: 1, pagesPerSequence: 3, maxTopK: 2 }
const draw = { control: [0, 1, 0, 0, 0.25], adjustments: new LogitAdjustments(greedy, Int32Array.of(1)), logprobs: undefined } as const

let backend: ModelBackend
let decoder: PagedDecoder
let inputs: DecodeInputs
beforeEach(async () => {
  backend = await reference()
  decoder = new PagedDecoder(await tinyModel(backend), { attention: { policy: phsaPolicy, phsa: sparsePhsa }, pages: 8, pageTokens: 4 })
  inputs = new DecodeInputs(decoder, shape, punctuation)
})
afterEach(() => backend.dispose())

function inputOf(id: number, start: number, pages: readonly number[]): StepInput {
  return { ids: Int32Array.of(id), start, pages, topK: 2, denseBelow: 0, draw, following: undefined }
}

/** Every tensor's elements, by its name. */
async function contents(): Promise<Record<string, readonly number[]>> {
  const { batch, ...own } = inputs.tensors
  const { queryStarts, keyLengths, pageTable, topK, denseBelow } = batch
  const entries = Object.entries({ ...own, queryStarts, keyLengths, pageTable, topK, denseBelow }).map(
    async ([name, tensor]) => [name, [...(await backend.memory.download(tensor))]] as const,
  )
  return Object.fromEntries(await Promise.all(entries))
}

/** Sizes of what is written meanwhile. */
function writesOf(run: () => void): number[] {
  const { memory } = backend
  const write = memory.write.bind(memory)
  const sizes: number[] = []
  Object.assign(memory, {
    write: (tensor: Parameters<typeof write>[0], data: HostArray) => {
      sizes.push(data.length)
      write(tensor, data)
    },
  })
  run()
  Object.assign(memory, { write })
  return sizes.sort((a, b) => a - b)
}

test('tensors hold the rows of the sequences, and nothing in the others', async () => {
  inputs.write([inputOf(7, 3, [6]), inputOf(5, 9, [1, 2, 3]), inputOf(9, 0, [4])])
  inputs.write([inputOf(5, 9, [1, 2, 3]), inputOf(8, 4, [6, 0])])
  expect(await contents()).toEqual({
    ids: [5, 8, -1, -1],
    positions: [9, 4, 0, 0],
    marks: [1, 0, 0, 0],
    rows: [0, 1, -1, -1],
    control: [0, 1, 0, 0, 0.25, 0, 1, 0, 0, 0.25, ...new Array(10).fill(0)],
    queryStarts: [0, 1, 2, 2, 2],
    keyLengths: [10, 5, 0, 0],
    pageTable: [1, 2, 3, 6, 0, -1, -1, -1, -1, -1, -1, -1],
    topK: [2, 2, 0, 0],
    denseBelow: [0, 0, 0, 0],
  })
})

test('the next step is written where it differs: positions and lengths, and pages when one was added', async () => {
  const pages = [1]
  inputs.write([inputOf(5, 2, pages)])
  expect(writesOf(() => inputs.advance([{ pages, draw }]))).toEqual([4, 4])
  pages.push(7)
  expect(writesOf(() => inputs.advance([{ pages, draw }]))).toEqual([4, 4, 12])
  const { positions, keyLengths, pageTable } = await contents()
  expect({ positions, keyLengths, pages: pageTable.slice(0, 3) }).toEqual({
    positions: [4, 0, 0, 0],
    keyLengths: [5, 0, 0, 0],
    pages: [1, 7, -1],
  })
})

test('there is room for a next step until a sequence has as many keys as its pages hold', () => {
  const pages = [1, 2, 3]
  inputs.write([inputOf(5, 10, pages), inputOf(5, 0, [4])])
  expect(inputs.hasRoomForNext).toBe(true)
  inputs.advance([
    { pages, draw },
    { pages: [4], draw },
  ])
  expect(inputs.hasRoomForNext).toBe(false)
})
