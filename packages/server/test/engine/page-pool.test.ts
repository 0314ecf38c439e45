import fc from 'fast-check'
import { expect, test } from 'vitest'
import { PagePool } from '../../src/engine/page-pool.js'

test('published pages are found until their place is needed, the longest unused going first', () => {
  const pool = new PagePool(3)
  const [a, b, c] = [pool.take()!, pool.take()!, pool.take()!]
  expect(pool.take()).toBeUndefined()
  pool.publish(a, 'a')
  pool.publish(b, 'b')
  pool.release([a])
  pool.release([b, c])
  expect(pool.counts).toEqual({ total: 3, used: 0, cached: 2 })
  expect(pool.find('a')).toBe(a)
  pool.hold(a)
  expect(pool.take()).toBe(c)
  pool.release([a])
  // b has been unused for longer than a by now.
  expect(pool.take()).toBe(b)
  expect([pool.find('a'), pool.find('b')]).toEqual([a, undefined])
})

test('the end of a sequence is forgotten before its beginning', () => {
  const pool = new PagePool(2)
  const pages = [pool.take()!, pool.take()!]
  pool.publish(pages[0], 'first')
  pool.publish(pages[1], 'second')
  pool.release(pages)
  pool.take()
  expect([pool.find('first'), pool.find('second')]).toEqual([pages[0], undefined])
})

test('a second page of the same contents stays its holder’s alone', () => {
  const pool = new PagePool(2)
  const [a, b] = [pool.take()!, pool.take()!]
  pool.publish(a, 'same')
  pool.publish(b, 'same')
  expect(pool.find('same')).toBe(a)
  pool.release([b])
  expect(pool.counts).toEqual({ total: 2, used: 1, cached: 0 })
})

test('whatever is taken, held, published and released: every page is held by as many as say so, or free once', () => {
  const action = fc.record({ kind: fc.constantFrom('take', 'hold', 'publish', 'release'), choice: fc.nat(1000) })
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 6 }), fc.array(action, { maxLength: 60 }), (pages, actions) => {
      const pool = new PagePool(pages)
      const held: number[] = []
      for (const { kind, choice } of actions) {
        if (kind === 'take') {
          const page = pool.take()
          expect(page === undefined).toBe(new Set(held).size === pages)
          expect(held).not.toContain(page)
          if (page !== undefined) held.push(page)
        } else if (kind === 'hold') {
          const page = pool.find(`hash ${choice % 8}`)
          if (page !== undefined) {
            pool.hold(page)
            held.push(page)
          }
        } else if (held.length > 0) {
          const index = choice % held.length
          if (kind === 'publish') pool.publish(held[index], `hash ${choice % 8}`)
          else pool.release(held.splice(index, 1))
        }
        const holders = Array.from({ length: pages }, (_, page) => held.filter((other) => other === page).length)
        expect(holders.map((_, page) => pool.holders(page))).toEqual(holders)
        expect(pool.available).toBe(pages - new Set(held).size)
      }
      pool.release(held)
      expect(pool.counts.used).toBe(0)
      expect(Array.from({ length: pages }, () => pool.take()).sort()).toEqual(Array.from({ length: pages }, (_, page) => page))
    }),
  )
})
