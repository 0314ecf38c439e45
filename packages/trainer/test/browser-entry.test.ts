import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { importsOfNode } from '../../../scripts/imports-of-node.js'
import * as browser from '../src/browser.js'
import * as whole from '../src/index.js'
import { letterData, tinyModel } from './tiny-model.js'

const text = 'A fox saw grapes, ripe and high. It leapt; it missed. "They are sour," said the fox, and left.'

test('what pages get imports nothing of Node', async () => {
  expect(await importsOfNode(fileURLToPath(new URL('../src/browser.ts', import.meta.url)), /^@phsa\//)).toEqual([])
})

test('it has no name that Node does not have', () => {
  expect(Object.keys(whole)).toEqual(expect.arrayContaining(Object.keys(browser)))
})

test('it trains to the same losses', async () => {
  const data = await letterData(text)
  const losses = async (create: typeof browser.createTrainer) => {
    const model = await tinyModel()
    const found: number[] = []
    for await (const { loss } of create({ model, data, batch: { sequences: 1, tokens: 32 }, steps: 3 })) found.push(loss)
    model.dispose()
    return found
  }
  expect(await losses(browser.createTrainer)).toEqual(await losses(whole.createTrainer))
})

test.each([
  ['log', { log: 'log.jsonl' }],
  ['tensorboard', { tensorboard: 'events' }],
  ['checkpoint', { checkpoint: { folder: 'checkpoints' } }],
  ['resume', { resume: 'checkpoints' }],
])('it refuses %s before the first step', async (setting, options) => {
  const model = await tinyModel()
  const data = await letterData(text)
  const trainer = browser.createTrainer({ model, data, batch: { sequences: 1, tokens: 32 }, steps: 3, ...options })
  await expect(trainer[Symbol.asyncIterator]().next()).rejects.toThrow(`${setting} needs files`)
})
