import { afterEach, expect, test, vi } from 'vitest'
import { isFirstRank, ranksToLaunch, withTrainingBackend, worldSize } from '../../src/launch/rank-place.js'

afterEach(() => {
  vi.unstubAllEnvs()
})

test('how many processes there are, and how many to start', () => {
  expect([worldSize({}), worldSize({ WORLD_SIZE: '16' })]).toEqual([1, 16])
  expect(() => worldSize({ WORLD_SIZE: 'two' })).toThrow('WORLD_SIZE is "two"; it is the number of processes that train together, from 1.')
  expect([ranksToLaunch(undefined, {}), ranksToLaunch(4, {})]).toEqual([1, 4])
  // This is one that was started.
  expect(ranksToLaunch(4, { WORLD_SIZE: '4' })).toBe(1)
  expect(() => ranksToLaunch(4, { WORLD_SIZE: '2' })).toThrow(/--gpus is 4, but WORLD_SIZE is 2: .* Leave --gpus out under torchrun/)
})

test('who writes', () => {
  const isFirst = (place: NodeJS.ProcessEnv) => isFirstRank({ WORLD_SIZE: '4', ...place })
  expect([isFirst({}), isFirst({ RANK: '0' }), isFirst({ RANK: '1' }), isFirst({ JOB_COMPLETION_INDEX: '2' })]).toEqual([
    true,
    true,
    false,
    false,
  ])
  // Pods of a Job that train a model each.
  expect([isFirstRank({}), isFirstRank({ JOB_COMPLETION_INDEX: '2' }), isFirstRank({ WORLD_SIZE: '1', RANK: '1' })]).toEqual([
    true,
    true,
    true,
  ])
})

test('only CUDA trains together', async () => {
  const run = vi.fn()
  vi.stubEnv('WORLD_SIZE', '2')
  await expect(withTrainingBackend('tfjs-wasm', run)).rejects.toThrow(
    /--backend is tfjs-wasm, but 2 processes are to train together, which only cuda can; take --backend cuda/,
  )
  expect(run).not.toHaveBeenCalled()
  vi.stubEnv('WORLD_SIZE', '1')
  await withTrainingBackend('reference', run)
  expect(run).toHaveBeenCalledOnce()
})
