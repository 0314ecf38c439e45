import { splitDocuments } from '@phsa/trainer'
import { UsageError } from '../usage-error.js'
import { bundledText } from './bundled-assets.js'

/** A place that of the bundled documents only this novel names. */
const PLACE = 'Hartfield'

/** What `heldOutNovel` gives. */
export const NOVEL_TITLE = 'Emma, by Jane Austen'

/** A quarter of *Emma* (1815, in the public domain), which the bundled model was not trained on: 53,000 of its tokens. */
export function heldOutNovel(): string {
  const novel = splitDocuments(bundledText()).find((document) => document.includes(PLACE))
  if (novel === undefined) throw new UsageError(`the bundled text has no document that names ${PLACE}; reinstall the package.`)
  // The excerpt starts in the middle of a sentence.
  return novel.slice(novel.indexOf('\n') + 1).trimStart()
}
