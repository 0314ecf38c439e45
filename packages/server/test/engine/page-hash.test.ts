import { phsaConfig } from '@phsa/core'
import { expect, test } from 'vitest'
import { type PageIdentity, pageHash, rootHash } from '../../src/engine/page-hash.js'

const phsa = phsaConfig()
const identity: PageIdentity = { policy: 'phsa', phsa, dtype: 'f32', attention: { topK: phsa.topK }, salt: '' }

test.each<[string, Partial<PageIdentity>]>([
  ['selection policy', { policy: 'mean-pool' }],
  ['topK', { attention: { topK: phsa.topK + 1 } }],
  ['dense attention', { attention: 'dense' }],
  ['element type', { dtype: 'bf16' }],
  ['salt', { salt: 'another key' }],
  ...Object.entries(phsa)
    .filter(([name]) => name !== 'topK')
    .map(([name, value]): [string, Partial<PageIdentity>] => [name, { phsa: { ...phsa, [name]: [value, 'other'] } }]),
])('pages of another %s are not found', (_, difference) => {
  expect(rootHash({ ...identity, ...difference })).not.toBe(rootHash(identity))
})

test('the order of settings and the topK of the configuration change nothing: the request has its own', () => {
  const turned = Object.fromEntries(Object.entries({ ...phsa, topK: 1 }).reverse()) as unknown as typeof phsa
  expect(rootHash({ ...identity, phsa: turned })).toBe(rootHash(identity))
})

test('a page is found by its tokens and by all before it', () => {
  const [a, b] = [Int32Array.of(1, 2), Int32Array.of(1, 3)]
  const root = rootHash(identity)
  expect(pageHash(root, a)).toBe(pageHash(root, a.slice()))
  expect(new Set([pageHash(root, a), pageHash(root, b), pageHash(pageHash(root, b), a), pageHash(pageHash(root, a), a)]).size).toBe(4)
})
