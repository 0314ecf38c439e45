import { InvalidFileError, isPhsaError } from '@phsa/core'
import type { ModelFiles } from './model-files.js'

/** How far the download of one file is. */
export interface DownloadProgress {
  readonly file: string
  /** Bytes that have come, decompressed. */
  readonly received: number
  /** Bytes of the whole; undefined where the server does not say, or compresses. */
  readonly total: number | undefined
}

/** How files are fetched. */
export interface WebFilesOptions {
  /** Called as pieces come. */
  readonly onProgress?: (progress: DownloadProgress) => void
  /** Ends downloads. */
  readonly signal?: AbortSignal
}

/**
 * The files of a model folder on a web server, for pages: `loadModel(webFiles('model'), { backend })`. Each is fetched whole when it is first asked for, once,
 * and held in memory until `close`: for models that a page would download anyway. A page that a server sends in place of a file that it does not have
 * counts as none.
 * @param address of the folder; in a page it may be relative
 * @throws InvalidFileError, in its methods, naming the address and what the server said
 */
export function webFiles(address: string, options: WebFilesOptions = {}): ModelFiles {
  const label = address.replace(/\/+$/, '')
  const files = new Map<string, Promise<Uint8Array | undefined>>()

  const whole = (name: string): Promise<Uint8Array | undefined> => {
    const known = files.get(name)
    if (known) return known
    const fetched = download(`${label}/${name}`, name, options)
    files.set(name, fetched)
    // What failed may work when it is asked for again.
    fetched.catch(() => files.delete(name))
    return fetched
  }

  return {
    label,
    size: async (name) => (await whole(name))?.byteLength,
    async read(name, begin, end) {
      const bytes = await whole(name)
      if (bytes && end <= bytes.byteLength) return bytes.slice(begin, end)
      throw new InvalidFileError(`${label}/${name}: it has ${bytes?.byteLength ?? 'no'} bytes; bytes up to ${end} were asked for.`)
    },
    async close() {
      files.clear()
    },
  }
}

async function download(address: string, file: string, { onProgress, signal }: WebFilesOptions): Promise<Uint8Array | undefined> {
  try {
    const response = await fetch(address, { signal })
    if (response.status === 404 || response.status === 410 || isPage(response)) {
      await response.body?.cancel()
      return undefined
    }
    if (!response.ok) throw new InvalidFileError(`${address}: the server answered ${response.status} ${response.statusText}`.trimEnd())
    const total = totalOf(response)
    return await collect(response, (received) => onProgress?.({ file, received, total }))
  } catch (cause) {
    if (isPhsaError(cause) || signal?.aborted) throw cause
    throw new InvalidFileError(`${address}: it cannot be fetched (${(cause as Error).message}); is the server there?`, { cause })
  }
}

/** What servers of single-page applications answer for every path that they do not have. */
function isPage(response: Response): boolean {
  return response.headers.get('content-type')?.startsWith('text/html') ?? false
}

function totalOf({ headers }: Response): number | undefined {
  const length = Number(headers.get('content-length'))
  return length > 0 && !headers.has('content-encoding') ? length : undefined
}

async function collect(response: Response, onReceived: (bytes: number) => void): Promise<Uint8Array> {
  const parts: Uint8Array[] = []
  let received = 0
  const reader = response.body?.getReader()
  for (let part = await reader?.read(); part && !part.done; part = await reader?.read()) {
    parts.push(part.value)
    received += part.value.byteLength
    onReceived(received)
  }
  const bytes = new Uint8Array(received)
  let at = 0
  for (const part of parts) {
    bytes.set(part, at)
    at += part.byteLength
  }
  return bytes
}
