import { reference } from '@phsa/core'
import { loadModel } from '@phsa/model'
import { createServer } from '../../src/index.js'
import type { ServedAnswer, ServedCall, ServedOptions } from './served-process.js'

// `ServedProcess` starts this: a server as its argument says, which tells how it is.
const options = JSON.parse(process.argv[2]) as ServedOptions
const backend = await reference()
const { model, punctuation } = await loadModel(options.tokenizerFolder, { backend })
const server = await createServer({ ...options, model, punctuation })
const tell = (answer: ServedAnswer) => process.send?.(answer)

process.on('message', async (call: ServedCall) => {
  if (call === 'state') {
    globalThis.gc?.()
    const { heapUsed, arrayBuffers, rss } = process.memoryUsage()
    tell({ type: 'state', state: { stats: await server.stats(), heapBytes: heapUsed + arrayBuffers, residentBytes: rss } })
  } else {
    tell({ type: 'drained', finished: await server.drain(60_000) })
    process.disconnect()
  }
})
tell({ type: 'listening', url: server.url })
