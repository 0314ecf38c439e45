import { argv, stdout } from 'node:process'
import { fuzzServer } from './fuzz-server.js'
import { withTinyServer } from './tiny-server.js'

// `npm run soak -- fuzz-serving` runs this: `serving-fuzz FIRST END SEED` says what it found as one line of JSON.
const [first, end, seed] = argv.slice(2).map(Number)

await withTinyServer(async (server) => {
  stdout.write(`${JSON.stringify(await fuzzServer(server, { first, end, seed }))}\n`)
})
