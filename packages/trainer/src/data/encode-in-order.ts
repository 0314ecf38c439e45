import type { RecordPosition, SourceDocument } from './document-record.js'

/** Encodes somewhere else than on this thread, for example in other processes. */
export interface DocumentEncoder {
  encode(text: string): Promise<ArrayLike<number>>
  /** Documents that are under way at once, at least 1. */
  readonly concurrency: number
}

/** Ids of a document, and where it stood. */
export interface EncodedDocument {
  readonly ids: ArrayLike<number>
  readonly position: RecordPosition
}

type Outcome = { readonly ids: ArrayLike<number> } | { readonly error: unknown }

/** Documents as ids, in the order they came in, while later ones are under way. @throws what reading and encoding throw */
export async function* encodeInOrder(documents: AsyncIterable<SourceDocument>, encoder: DocumentEncoder): AsyncGenerator<EncodedDocument> {
  const underWay: { readonly position: RecordPosition; readonly outcome: Promise<Outcome> }[] = []
  for await (const { text, position } of documents) {
    // Kept as an outcome: an error is thrown when it is this document's turn, not before anybody waits for it.
    const outcome = encoder.encode(text).then(
      (ids) => ({ ids }),
      (error: unknown) => ({ error }),
    )
    underWay.push({ position, outcome })
    if (underWay.length >= encoder.concurrency) yield await first(underWay)
  }
  while (underWay.length > 0) yield await first(underWay)
}

async function first(underWay: { readonly position: RecordPosition; readonly outcome: Promise<Outcome> }[]): Promise<EncodedDocument> {
  const [{ position, outcome }] = underWay.splice(0, 1)
  const done = await outcome
  if ('error' in done) throw done.error
  return { ids: done.ids, position }
}
