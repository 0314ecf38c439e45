import { argv, stdout } from 'node:process'
import { soakServer } from './soak-server.js'
import { withTinyServer } from './tiny-server.js'

// `npm run soak -- serving` runs this: `serving-soak CLIENTS SECONDS SEED` says what it found as one line of JSON.
const [clients, seconds, seed] = argv.slice(2).map(Number)

await withTinyServer(async (server) => {
  stdout.write(`${JSON.stringify(await soakServer(server, { clients, seconds, seed }))}\n`)
})
