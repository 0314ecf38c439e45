/**
 * Server-sent events out of pieces of text, as a body: each piece is made when the one before it was taken, so a client that does not read stops the
 * reading of `events`.
 * @param onLeft called when the client has left: ends the work that `events` waits for
 */
export function eventStream(events: AsyncGenerator<string, void, undefined>, onLeft: () => void): ReadableStream<Uint8Array> {
  const encoder = new TextEncoder()
  let isOpen = true
  return new ReadableStream<Uint8Array>({
    async pull(controller) {
      const { value, done } = await events.next()
      if (!isOpen) return
      if (done) controller.close()
      else controller.enqueue(encoder.encode(value))
    },
    async cancel() {
      isOpen = false
      onLeft()
      await events.return()
    },
  })
}

/** One event. */
export function dataEvent(data: unknown): string {
  return `data: ${JSON.stringify(data)}\n\n`
}

/** The last event of a stream that came to its end. */
export const DONE_EVENT = 'data: [DONE]\n\n'
