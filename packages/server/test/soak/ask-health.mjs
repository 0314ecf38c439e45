// A thread of its own, whose answers do not wait for a thousand streams that are read beside: `soakServer` starts it with an address and a time. It asks
// as a prober does, each time on a new connection, and at fixed times: a slow answer keeps no later question back, which may be as slow.
import { get } from 'node:http'
import { setTimeout as sleep } from 'node:timers/promises'
import { parentPort, workerData } from 'node:worker_threads'

const PAUSE_MILLISECONDS = 25

/** @type {number[]} */
const milliseconds = []
/** @type {string[]} */
const faults = []
const began = performance.now()
/** @type {Promise<void>[]} */
const asked = []
for (let due = began; due < began + workerData.milliseconds; due += PAUSE_MILLISECONDS) {
  await sleep(Math.max(0, due - performance.now()))
  asked.push(ask())
}
await Promise.all(asked)
parentPort?.postMessage({ milliseconds, faults })

/** @returns {Promise<void>} */
function ask() {
  const start = performance.now()
  return new Promise((resolve) => {
    const end = (/** @type {string | undefined} */ fault) => {
      milliseconds.push(performance.now() - start)
      if (fault) faults.push(fault)
      resolve()
    }
    const request = get(`${workerData.url}/health`, { agent: false }, (response) => {
      response.resume().on('close', () => {
        if (!response.complete) end('/health: the answer was cut off')
        else end(response.statusCode === 200 ? undefined : `/health answered ${response.statusCode}`)
      })
    })
    request.on('error', (error) => end(`/health: ${error}`))
  })
}
