import { splitDocuments } from '@phsa/trainer'
import { UsageError } from '../usage-error.js'
import { bundledText } from './bundled-assets.js'

/** A place that only this novel of the bundled text names. */
const PLACES = { train: 'Netherfield', valid: 'Hartfield' } as const

/**
 * The demo's text: *Pride and Prejudice* to learn from, an excerpt of *Emma* that is never trained on. One author, because two minutes are too
 * short to learn the other documents' kinds of text besides.
 */
export function demoNovel(part: 'train' | 'valid'): string {
  const novel = splitDocuments(bundledText(part)).find((document) => document.includes(PLACES[part]))
  if (novel === undefined)
    throw new UsageError(`the bundled ${part} text has no document that names ${PLACES[part]}; reinstall the package.`)
  // The excerpt starts in the middle of a sentence.
  return part === 'valid' ? novel.slice(novel.indexOf('\n') + 1).trimStart() : novel
}
