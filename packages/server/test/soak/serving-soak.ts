import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { argv, stdout } from 'node:process'
import { writeTinyFolder } from '../serving/tiny-folder.js'
import { ServedProcess } from './served-process.js'
import { soakServer, TIGHT } from './soak-server.js'

// `npm run soak -- serving` runs this: `serving-soak CLIENTS SECONDS SEED` says what it found as one line of JSON.
const [clients, seconds, seed] = argv.slice(2).map(Number)

const folder = await mkdtemp(join(tmpdir(), 'phsa-soak-'))
try {
  await writeTinyFolder(folder)
  const server = await ServedProcess.start({ tokenizerFolder: folder, port: 0, ...TIGHT })
  try {
    stdout.write(`${JSON.stringify(await soakServer(server, { clients, seconds, seed }))}\n`)
  } finally {
    server.kill()
  }
} finally {
  await rm(folder, { recursive: true, force: true, maxRetries: 5 })
}
