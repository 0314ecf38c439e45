import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { CachingAllocator } from '../src/memory/caching-allocator.js'
import type { Allocation } from '../src/memory/free-lists.js'
import { sizeClass } from '../src/memory/size-class.js'

/** Memory of a size, with books of what is taken. */
function source(capacity: number) {
  const taken = new Map<bigint, number>()
  let next = 512n
  let calls = 0
  const sum = () => [...taken.values()].reduce((total, bytes) => total + bytes, 0)
  return {
    taken,
    sum,
    get calls() {
      return calls
    },
    allocate(bytes: number): bigint | undefined {
      calls++
      if (sum() + bytes > capacity) return undefined
      const address = next
      next += BigInt(bytes)
      taken.set(address, bytes)
      return address
    },
    free(address: bigint) {
      if (!taken.delete(address)) throw new Error('freed twice')
    },
  }
}

const steps = fc.array(fc.oneof(fc.nat({ max: 5000 }), fc.integer({ min: -20, max: -1 })), { maxLength: 200 })

describe('the caching allocator', () => {
  test('gives out memory that overlaps nothing in use, and counts what it keeps', () => {
    fc.assert(
      fc.property(steps, fc.nat({ max: 60_000 }), (trace, capacity) => {
        const memory = source(capacity)
        const allocator = new CachingAllocator(memory)
        const used: Allocation[] = []
        for (const step of trace) {
          if (step < 0) {
            const [released] = used.splice(-step % (used.length || 1), 1)
            if (released) allocator.release(released)
          } else {
            const allocation = allocator.take(step)
            if (allocation) {
              expect(allocation.bytes).toBeGreaterThanOrEqual(step)
              for (const other of used) {
                const apart =
                  allocation.address + BigInt(allocation.bytes) <= other.address ||
                  other.address + BigInt(other.bytes) <= allocation.address
                expect(apart || allocation.bytes === 0 || other.bytes === 0).toBe(true)
              }
              used.push(allocation)
            } else {
              // Refused only where the source has no room although nothing is kept.
              expect(allocator.keptBytes).toBe(0)
              expect(memory.sum() + sizeClass(step)).toBeGreaterThan(capacity)
            }
          }
          const inUse = used.reduce((total, { bytes }) => total + bytes, 0)
          expect(memory.sum()).toBe(inUse + allocator.keptBytes)
        }
        for (const allocation of used) allocator.release(allocation)
        allocator.giveBack()
        expect(memory.taken.size).toBe(0)
      }),
    )
  })

  test('reuses what was freed without asking the source', () => {
    const memory = source(1e9)
    const allocator = new CachingAllocator(memory)
    const first = allocator.take(1_000_000) as Allocation
    allocator.release(first)
    expect(allocator.take(999_000)?.address).toBe(first.address)
    expect(memory.calls).toBe(1)
  })

  test('gives back what it keeps and tries once more where there is no room', () => {
    const memory = source(10_240)
    const allocator = new CachingAllocator(memory)
    allocator.release(allocator.take(8_192) as Allocation)
    expect(allocator.take(10_000)?.bytes).toBe(10_240)
    expect(allocator.take(600)).toBeUndefined()
  })

  test('no bytes have no memory', () => {
    const memory = source(0)
    const allocator = new CachingAllocator(memory)
    const nothing = allocator.take(0) as Allocation
    allocator.release(nothing)
    expect([nothing.address, memory.calls, allocator.keptBytes]).toEqual([0n, 0, 0])
  })
})

test('size classes hold the request, waste at most an eighth above 4 KB, and are their own class', () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 2 ** 40 }), (bytes) => {
      const size = sizeClass(bytes)
      expect(size).toBeGreaterThanOrEqual(bytes)
      expect(size % 512).toBe(0)
      expect(sizeClass(size)).toBe(size)
      if (bytes > 4096) expect(size).toBeLessThanOrEqual(bytes * 1.125)
    }),
  )
})
