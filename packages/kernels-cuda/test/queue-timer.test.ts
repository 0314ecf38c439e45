import { expect, test } from 'vitest'
import { openBackend } from '../src/open-backend.js'
import { FakeDriver, fakeArchive } from './fake-driver.js'

function open() {
  const archive = fakeArchive()
  const driver = new FakeDriver({}, archive)
  return { driver, backend: openBackend(driver, archive, 0) }
}

test('a timer gives the times between its marks, uses their events again and gives them back', () => {
  const { driver, backend } = open()
  const timer = backend.createTimer()
  for (const count of [3, 2, 3]) {
    for (let index = 0; index < count; index++) timer.mark()
    expect(timer.read()).toHaveLength(count - 1)
  }
  expect(driver.calls.filter((call) => call === 'cuEventCreate')).toHaveLength(3)
  timer.dispose()
  expect(driver.events.size).toBe(0)
  backend.dispose()
})

test('a timer without marks has no times', () => {
  const { backend } = open()
  expect(backend.createTimer().read()).toHaveLength(0)
  backend.dispose()
})

test('device memory is what the driver says, and falls by what a tensor takes', () => {
  const { backend } = open()
  const before = backend.deviceMemory()
  backend.memory.alloc([1 << 20], 'f32')
  expect(before.freeBytes - backend.deviceMemory().freeBytes).toBeGreaterThanOrEqual(4 << 20)
  expect(backend.deviceMemory().totalBytes).toBe(before.totalBytes)
  backend.dispose()
  expect(() => backend.deviceMemory()).toThrow(expect.objectContaining({ code: 'disposed' }))
})
