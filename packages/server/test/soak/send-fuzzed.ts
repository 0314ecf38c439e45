import { connect } from 'node:net'
import type { FuzzedRequest } from './fuzzed-request.js'

/** A connection that stays open without an answer for so long is a fault: bodies and headers have timeouts, but those sent here are whole. */
const STUCK_MILLISECONDS = 120_000

/** The server waits so long for the rest of a request that is not whole; who ends at once is taken for one that has left. */
const END_MILLISECONDS = 100

/** What came back: a status, `closed` where the connection ended without one, or what went wrong. */
export interface FuzzedAnswer {
  readonly status: number | string
  readonly body: string
}

/** Sends it with fetch, or byte for byte where it has damaged bytes. Never rejects. */
export async function sendFuzzed(url: string, request: FuzzedRequest): Promise<FuzzedAnswer> {
  try {
    if (request.raw) return await sendBytes(url, request.raw)
    const { method, path, headers, body } = request
    const response = await fetch(url + path, { method, headers, body, signal: AbortSignal.timeout(STUCK_MILLISECONDS) })
    return { status: response.status, body: await response.text() }
  } catch (error) {
    return { status: error instanceof Error && error.cause ? `${error.message}: ${error.cause}` : String(error), body: '' }
  }
}

/** The request as a fault shows it. */
export function fuzzedText({ method, path, headers, body, raw }: FuzzedRequest): string {
  const text = (bytes: Uint8Array | undefined) =>
    Buffer.from(bytes ?? [])
      .toString('latin1')
      .slice(0, 2000)
  return raw ? text(raw) : JSON.stringify({ method, path, headers, body: text(body) })
}

/** Bytes as they are; the status of the first answer. */
function sendBytes(url: string, bytes: Uint8Array): Promise<FuzzedAnswer> {
  const { hostname, port } = new URL(url)
  return new Promise((resolve, reject) => {
    let end: NodeJS.Timeout | undefined
    const socket = connect(Number(port), hostname, () => {
      socket.write(bytes)
      end = setTimeout(() => socket.end(), END_MILLISECONDS)
    })
    let answer = ''
    socket.setTimeout(STUCK_MILLISECONDS, () => socket.destroy(new Error(`no answer after ${STUCK_MILLISECONDS} ms`)))
    socket.on('data', (data) => {
      answer += data.toString('latin1')
      socket.end()
    })
    socket.on('error', (error: NodeJS.ErrnoException) =>
      error.code === 'ECONNRESET' || error.code === 'EPIPE' ? undefined : reject(error),
    )
    socket.on('close', () => {
      clearTimeout(end)
      const [, status] = /^HTTP\/1\.1 (\d{3}) /.exec(answer) ?? []
      resolve({ status: status === undefined ? 'closed' : Number(status), body: answer })
    })
  })
}
