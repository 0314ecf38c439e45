import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { writeTinyFolder } from '../serving/tiny-folder.js'
import { ServedProcess } from './served-process.js'

/** A cache that is too small for all that run, in small pages: some are pushed out, and many share a page. */
const TIGHT = { maxTokens: 512, cacheTokens: 640, pageTokens: 8, maxSequences: 32 }

/** A server of a tiny model in a process of its own, as long as `use` runs. */
export async function withTinyServer(use: (server: ServedProcess) => Promise<void>): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'phsa-soak-'))
  try {
    await writeTinyFolder(folder)
    const server = await ServedProcess.start({ tokenizerFolder: folder, port: 0, ...TIGHT })
    try {
      await use(server)
    } finally {
      server.kill()
    }
  } finally {
    await rm(folder, { recursive: true, force: true, maxRetries: 5 })
  }
}
