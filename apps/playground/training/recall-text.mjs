// Writes documents that teach a small model to look back: passages of a text with facts among them ("The code of the green boat is 48213.") that are
// asked for later on, in the words of the needle test of `phsa eval`. Plain prose of this size teaches it hardly at all.
//
//   node apps/playground/training/recall-text.mjs TEXT OUT [CHARACTERS]
import { readFileSync, writeFileSync } from 'node:fs'

/** Characters of all documents together, where the command line does not say; about 3 million tokens. */
const USUAL_TOTAL = 12_600_000
/** Shortest and longest document and gap between two insertions, in characters; drawn evenly on a logarithmic scale. */
const DOCUMENT = [4_000, 120_000]
const GAP = [100, 2_500]
/** Facts that wait for their question at once; how many, and with the gap how far apart the two are, is drawn for each document. */
const WAITING = [1, 24]
const COLOURS = ['red', 'blue', 'green', 'black', 'white', 'yellow', 'brown', 'grey', 'purple', 'orange', 'silver', 'golden']
const THINGS = ['door', 'boat', 'lamp', 'horse', 'garden', 'tower', 'letter', 'river', 'clock', 'bridge', 'mirror', 'window']

const [from, to, total = USUAL_TOTAL] = process.argv.slice(2)
if (from === undefined || to === undefined) {
  console.error('usage: recall-text.mjs TEXT OUT [CHARACTERS]')
  process.exit(2)
}
const paragraphs = readFileSync(from, 'utf8')
  .split(/\n\n+/)
  .map((paragraph) => paragraph.trim())
  .filter((paragraph) => paragraph !== '')
const random = mulberry32(1)
const documents = []
for (let written = 0; written < Number(total); ) {
  const document = recallDocument()
  documents.push(document)
  written += document.length
}
writeFileSync(to, documents.join('\n\n\n'))
console.log(`${documents.length} documents, ${documents.reduce((sum, { length }) => sum + length, 0)} characters in ${to}`)

/** Consecutive paragraphs of the text with facts and questions between them. */
function recallDocument() {
  const length = logUniform(DOCUMENT)
  const meanGap = logUniform(GAP)
  const waiting = logUniform(WAITING)
  const keys = shuffled(COLOURS.flatMap((colour) => THINGS.map((thing) => `${colour} ${thing}`)))
  /** @type {{ key: string, code: number }[]} */
  const known = []
  let text = ''
  let next = meanGap * random()
  for (let place = below(paragraphs.length); text.length < length; place = (place + 1) % paragraphs.length) {
    text += `${text === '' || text.endsWith('\n') ? '' : '\n\n'}${paragraphs[place]}`
    while (text.length >= next) {
      const line = insertion(keys, known, waiting)
      if (line === undefined) break
      text += `${text.endsWith('\n') ? '' : '\n'}${line}\n`
      next += line.length + meanGap * (0.5 + random())
    }
  }
  // Some of what is left is asked for at the end, as the needle test does.
  return `${text.trimEnd()}\n${known.splice(0, 4).map(question).join('\n')}`.trimEnd()
}

/**
 * A new fact, or a question about one that was not asked for yet; undefined once all keys have been used and asked for.
 *
 * @param {string[]} keys
 * @param {{ key: string, code: number }[]} known
 * @param {number} waiting
 */
function insertion(keys, known, waiting) {
  const key = known.length < waiting || random() < 0.5 ? keys.pop() : undefined
  if (key !== undefined) {
    const fact = { key, code: 10_000 + below(90_000) }
    known.push(fact)
    return `The code of the ${fact.key} is ${fact.code}.`
  }
  return known.length === 0 ? undefined : question(known.splice(below(known.length), 1)[0])
}

/** @param {{ key: string, code: number }} fact */
function question({ key, code }) {
  return `What is the code of the ${key}? The code of the ${key} is ${code}.`
}

/** @param {number[]} bounds */
function logUniform([least, most]) {
  return least * (most / least) ** random()
}

/** @param {number} count */
function below(count) {
  return Math.floor(random() * count)
}

/**
 * @template T
 * @param {T[]} values
 */
function shuffled(values) {
  for (let last = values.length - 1; last > 0; last--) {
    const other = below(last + 1)
    ;[values[last], values[other]] = [values[other], values[last]]
  }
  return values
}

/**
 * Numbers from 0 to 1 that the seed decides.
 *
 * @param {number} seed
 */
function mulberry32(seed) {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}
