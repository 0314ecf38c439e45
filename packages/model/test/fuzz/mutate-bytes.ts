import type { RandomStream } from '@phsa/core'
import { choice } from './fuzz-random.js'

type ByteMutation = (random: RandomStream, bytes: Uint8Array) => Uint8Array

/** Bytes that end strings, objects and numbers, or are the largest and smallest of their kind. */
const TELLING = [0, 1, 0x7f, 0x80, 0xff, ...new TextEncoder().encode('"\\{}[],:-0e')]

/** Most places lie near the start, where headers are. */
function place(random: RandomStream, length: number): number {
  const near = Math.min(length, choice(random, [16, 4096, length]))
  return random.below(Math.max(1, near))
}

function join(...parts: Uint8Array[]): Uint8Array {
  const whole = new Uint8Array(parts.reduce((total, part) => total + part.length, 0))
  let offset = 0
  for (const part of parts) {
    whole.set(part, offset)
    offset += part.length
  }
  return whole
}

const mutations: Readonly<Record<string, ByteMutation>> = {
  flipBits: (random, bytes) => {
    const copy = bytes.slice()
    for (let flips = random.below(8); flips >= 0 && copy.length > 0; flips--) copy[place(random, copy.length)] ^= 1 << random.below(8)
    return copy
  },
  setBytes: (random, bytes) => {
    const copy = bytes.slice()
    for (let count = random.below(4); count >= 0 && copy.length > 0; count--) copy[place(random, copy.length)] = choice(random, TELLING)
    return copy
  },
  truncate: (random, bytes) => bytes.slice(0, place(random, bytes.length)),
  cutEnd: (random, bytes) => bytes.slice(0, Math.max(0, bytes.length - 1 - random.below(64))),
  append: (random, bytes) =>
    join(
      bytes,
      Uint8Array.from({ length: 1 + random.below(64) }, () => random.below(256)),
    ),
  remove: (random, bytes) => {
    const start = place(random, bytes.length)
    return join(bytes.subarray(0, start), bytes.subarray(start + 1 + random.below(32)))
  },
  insert: (random, bytes) => {
    const start = place(random, bytes.length)
    const inserted = Uint8Array.from({ length: 1 + random.below(16) }, () => choice(random, TELLING))
    return join(bytes.subarray(0, start), inserted, bytes.subarray(start))
  },
  splice: (random, bytes) => {
    const [from, to] = [place(random, bytes.length), place(random, bytes.length)]
    const piece = bytes.subarray(from, from + 1 + random.below(200))
    return join(bytes.subarray(0, to), piece, bytes.subarray(choice(random, [to, to + piece.length])))
  },
  length: (random, bytes) => {
    const copy = join(bytes.subarray(0, 8), bytes.subarray(8))
    const lengths = [
      0n,
      1n,
      8n,
      BigInt(bytes.length),
      BigInt(Math.max(0, bytes.length - 8)),
      100n * 2n ** 20n,
      2n ** 31n,
      2n ** 32n,
      2n ** 53n,
      2n ** 63n,
      2n ** 64n - 1n,
    ]
    if (copy.length >= 8) new DataView(copy.buffer).setBigUint64(0, choice(random, lengths), true)
    return copy
  },
}

/** A file with a few of its bytes changed, moved, added or taken away. @returns also what was done, by name */
export function mutateBytes(random: RandomStream, bytes: Uint8Array): { bytes: Uint8Array; done: string[] } {
  const done = Array.from({ length: 1 + random.below(3) }, () => choice(random, Object.keys(mutations)))
  return { bytes: done.reduce((changed, name) => mutations[name](random, changed), bytes), done }
}
