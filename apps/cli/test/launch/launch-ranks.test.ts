import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createRequire } from 'node:module'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { expect, test, vi } from 'vitest'
import { launchRanks } from '../../src/launch/launch-ranks.js'

const child = fileURLToPath(new URL('rank-child.mjs', import.meta.url))

/** Runs ranks that behave as told; see rank-child.mjs. */
async function launch(...behaviours: string[]): Promise<{ code: number; lines: string[] }> {
  const lines: string[] = []
  const code = await launchRanks({
    command: process.execPath,
    args: [child, ...behaviours],
    size: behaviours.length,
    say: (line) => lines.push(line),
  })
  return { code, lines }
}

/** A launcher in a process of its own. */
function startLauncher(...behaviours: string[]): { parent: ChildProcess; said: () => string } {
  const tsx = pathToFileURL(createRequire(import.meta.url).resolve('tsx')).href
  const script = fileURLToPath(new URL('launch-parent.ts', import.meta.url))
  const parent = spawn(process.execPath, ['--import', tsx, script, ...behaviours], { stdio: ['ignore', 'inherit', 'pipe'] })
  let said = ''
  parent.stderr?.setEncoding('utf8').on('data', (text: string) => {
    said += text
  })
  return { parent, said: () => said }
}

/** Process ids that the ranks after the first have said. */
const idsOf = (text: string) => [...text.matchAll(/^rank \d+: \d+ \d+ \S+ true (\d+)$/gm)].map(([, id]) => Number(id))

const isAlive = (id: number) => {
  try {
    return process.kill(id, 0)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ESRCH') return false
    throw error
  }
}

test('each rank is told its place; lines of the others have their rank before them', async () => {
  const { code, lines } = await launch('done', 'done', 'done')
  expect(code).toBe(0)
  expect(lines.map((line) => line.replace(/ \d+$/, '')).sort()).toEqual(['rank 1: 3 1 127.0.0.1 true', 'rank 2: 3 2 127.0.0.1 true'])
})

test('a rank that fails ends the others, and the job with its code and words', async () => {
  const { code, lines } = await launch('wait', 'exit=3')
  expect(code).toBe(3)
  expect(lines.at(-1)).toBe('phsa: rank 1 of 2 ended with exit code 3, so the job was ended. It said last: a reason')
  expect((await launch('exit=70', 'wait')).lines.at(-1)).toBe('phsa: rank 0 of 2 ended with exit code 70, so the job was ended.')
})

test('a rank that is killed ends the job; none is left behind', async () => {
  const lines: string[] = []
  const say = (line: string) => {
    lines.push(line)
    const [id] = idsOf(line)
    if (id !== undefined) process.kill(id, 'SIGKILL')
  }
  expect(await launchRanks({ command: process.execPath, args: [child, 'wait', 'wait'], size: 2, say })).toBe(3)
  expect(lines.at(-1)).toBe('phsa: rank 1 of 2 was ended by SIGKILL, so the job was ended.')
})

test('ranks that were interrupted have not failed', async () => {
  expect((await launch('exit=130', 'exit=130')).code).toBe(130)
})

test('Ctrl-C reaches each rank once, and the job ends when all have', async () => {
  const { parent, said } = startLauncher('clean', 'clean')
  await vi.waitFor(() => expect(idsOf(said())).toHaveLength(1), 10_000)
  await new Promise((resolve) => setTimeout(resolve, 100))
  parent.kill('SIGINT')
  expect(await once(parent, 'close')).toEqual([130, null])
  expect(said().match(/asked once/g)).toHaveLength(1)
})

test('ranks whose launcher is killed end with it', async () => {
  const { parent, said } = startLauncher('wait', 'wait', 'wait')
  await vi.waitFor(() => expect(idsOf(said())).toHaveLength(2), 10_000)
  parent.kill('SIGKILL')
  await vi.waitFor(() => expect(idsOf(said()).filter(isAlive)).toEqual([]), 5000)
})

test('a program that is not there', async () => {
  await expect(launchRanks({ command: '/no/such/program', args: [], size: 2 })).rejects.toMatchObject({ code: 'ENOENT' })
})
