import { expect, test } from 'vitest'
import { environmentPlace, groupPlace } from '../../src/collective/group-place.js'

const torchrun = { RANK: '3', WORLD_SIZE: '8', LOCAL_RANK: '1', MASTER_ADDR: 'node-0', MASTER_PORT: '29400' }

test('torchrun and training operators', () => {
  const { place, localRank } = environmentPlace(torchrun)
  expect([place.rank, place.size, place.address, place.port, localRank]).toEqual([3, 8, 'node-0', 29400, 1])
  expect(environmentPlace({ ...torchrun, TORCHELASTIC_USE_AGENT_STORE: 'True' }).place.port).toBe(29401)
})

test('an indexed Job of Kubernetes', () => {
  const { RANK, LOCAL_RANK, ...rest } = torchrun
  const { place, localRank } = environmentPlace({ ...rest, JOB_COMPLETION_INDEX: '2' })
  expect([place.rank, localRank]).toEqual([2, undefined])
})

test('no launcher is a group of one', () => {
  expect(environmentPlace({}).place).toMatchObject({ rank: 0, size: 1 })
  expect(() => environmentPlace({ JOB_COMPLETION_INDEX: '4' })).toThrow(/WORLD_SIZE is not set/)
  expect(environmentPlace({ RANK: '0', WORLD_SIZE: '1' }).place).toMatchObject({ rank: 0, size: 1 })
})

test.each([
  [{ RANK: undefined }, /RANK is not set; torchrun/],
  [{ WORLD_SIZE: undefined }, /WORLD_SIZE is not set/],
  [{ MASTER_ADDR: undefined }, /MASTER_ADDR is not set/],
  [{ MASTER_PORT: undefined }, /MASTER_PORT is not set/],
  [{ RANK: 'one' }, /RANK is 'one'; it must be an integer/],
  [{ RANK: '8' }, /collective.rank is 8; give an integer from 0 to 7/],
])('%j is refused', (change, message) => {
  expect(() => environmentPlace({ ...torchrun, ...change })).toThrow(message)
})

test.each([
  [{ size: 0 }, /collective.size is 0/],
  [{ port: 70_000 }, /collective.port is 70000/],
  [{ timeoutSeconds: 0 }, /collective.timeoutSeconds is 0; give a number of seconds above 0/],
  [{ joinSeconds: Number.POSITIVE_INFINITY }, /collective.joinSeconds is Infinity; .* up to 2000000/],
])('options %j are refused', (change, message) => {
  expect(() => groupPlace({ rank: 0, size: 2, ...change })).toThrow(message)
})
