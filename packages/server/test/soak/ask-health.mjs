// A thread of its own, whose answers do not wait for a thousand streams that are read beside: `soakServer` starts it with an address and a time.
import { setTimeout as sleep } from 'node:timers/promises'
import { parentPort, workerData } from 'node:worker_threads'

const end = performance.now() + workerData.milliseconds
/** @type {number[]} */
const milliseconds = []
/** @type {string[]} */
const faults = []
while (performance.now() < end) {
  const asked = performance.now()
  try {
    const { status } = await fetch(`${workerData.url}/health`)
    if (status !== 200) faults.push(`/health answered ${status}`)
  } catch (error) {
    faults.push(`/health: ${error}`)
  }
  milliseconds.push(performance.now() - asked)
  await sleep(20)
}
parentPort?.postMessage({ milliseconds, faults })
