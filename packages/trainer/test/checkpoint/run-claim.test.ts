import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { hostname, tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { RunClaim } from '../../src/checkpoint/run-claim.js'
import { createTrainer } from '../../src/create-trainer.js'
import { tinyRun } from '../tiny-run.js'

let folder: string
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'phsa-claim-'))
})
afterEach(() => rm(folder, { recursive: true, force: true }))

const claimFile = () => join(folder, '.writer.json')
const writer = async () => JSON.parse(await readFile(claimFile(), 'utf8'))

test('the newer run of a process has the folder, and only it gives it back', async () => {
  const first = await RunClaim.take(folder)
  await first.require()
  const second = await RunClaim.take(folder)
  await expect(first.require()).rejects.toThrow(
    `${folder} is not this run's any more: process ${process.pid} on ${hostname()} trains into it now`,
  )
  await first.release()
  await second.require()
  await second.release()
  expect(await readdir(folder)).toEqual([])
  await expect(second.require()).rejects.toThrow('its .writer.json is gone')
})

test.runIf(process.platform === 'linux')('a process that runs keeps it (only Linux tells one from a later one of its number)', async () => {
  await (await RunClaim.take(folder)).require()
  const [boot] = (await writer()).birth.split(' ')
  const status = await readFile(`/proc/${process.ppid}/stat`, 'utf8')
  const parent = {
    id: 'other',
    host: hostname(),
    pid: process.ppid,
    birth: `${boot} ${status.slice(status.lastIndexOf(')')).split(' ')[20]}`,
  }
  await writeFile(claimFile(), JSON.stringify(parent))
  await expect(RunClaim.take(folder)).rejects.toThrow(`process ${process.ppid} trains into ${folder} now, and two runs cannot`)
  // The number was given to another process, or the machine was started again.
  await writeFile(claimFile(), JSON.stringify({ ...parent, birth: `${boot} 1` }))
  await (await RunClaim.take(folder)).require()
})

test.each([
  ['of another host', { id: 'other', host: 'elsewhere.invalid', pid: 1, birth: 'boot 1' }],
  ['that was killed', { id: 'other', host: hostname(), pid: 2 ** 30, birth: 'boot 1' }],
  ['that was killed while it was written', '{"id":"oth'],
])('one %s is taken over', async (_, left) => {
  await writeFile(claimFile(), typeof left === 'string' ? left : JSON.stringify(left))
  const claim = await RunClaim.take(folder)
  await claim.require()
  expect((await writer()).pid).toBe(process.pid)
})

test('a run whose folder another run has taken ends before it writes a step, and one that ends leaves nothing', async () => {
  const checkpoint = { folder, every: 2 }
  const log = join(folder, 'log.jsonl')
  const steps: number[] = []
  const run = async () => {
    for await (const { step } of createTrainer({ ...(await tinyRun()), checkpoint, log })) {
      steps.push(step)
      if (step === 3) await RunClaim.take(folder)
    }
  }
  await expect(run()).rejects.toThrow(`${folder} is not this run's any more`)
  expect(steps).toEqual([1, 2, 3])
  expect((await readFile(log, 'utf8')).trim().split('\n')).toHaveLength(3)

  for await (const { step } of createTrainer({ ...(await tinyRun()), checkpoint, log, resume: folder })) steps.push(step)
  expect(steps.slice(3, 5)).toEqual([3, 4])
  expect(await readdir(folder)).not.toContain('.writer.json')
})
