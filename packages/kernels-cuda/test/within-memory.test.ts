import { OutOfMemoryError, ShapeError } from '@phsa/core'
import { expect, test } from 'vitest'
import { withinMemory } from '../src/attention/within-memory.js'

test('the first amount that there is room for', () => {
  const asked: number[] = []
  const run = (bytes: number) => {
    asked.push(bytes)
    if (bytes > 20) throw new OutOfMemoryError(`${bytes} bytes`)
    return `ran with ${bytes}`
  }
  expect(withinMemory([40, 30, 20, 10], run)).toBe('ran with 20')
  expect(asked).toEqual([40, 30, 20])
})

test('no room for the last one: its error', () => {
  const run = (bytes: number) => {
    throw new OutOfMemoryError(`${bytes} bytes`)
  }
  expect(() => withinMemory([2, 1], run)).toThrow('1 bytes')
})

test('another error is not for less memory to cure', () => {
  let runs = 0
  const run = () => {
    runs++
    throw new ShapeError('wrong')
  }
  expect(() => withinMemory([2, 1], run)).toThrow(ShapeError)
  expect(runs).toBe(1)
})
