import { type ChildProcess, spawn } from 'node:child_process'
import { execPath } from 'node:process'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { freePort } from './free-port.js'

const SIZE = 3

/** A rank in a process of its own. */
interface RankProcess {
  readonly process: ChildProcess
  readonly joined: Promise<void>
  /** Lines that it said, when it has ended by itself or was killed. */
  readonly end: Promise<{ readonly code: number | null; readonly lines: readonly string[]; readonly errors: string }>
}

function start(rank: number, port: number): RankProcess {
  const script = fileURLToPath(new URL('rank-child.ts', import.meta.url))
  const cwd = fileURLToPath(new URL('../..', import.meta.url))
  const child = spawn(execPath, ['--import', 'tsx', script, `${rank}`, `${SIZE}`, `${port}`], { cwd, stdio: ['ignore', 'pipe', 'pipe'] })
  let [said, errors] = ['', '']
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    errors += text
  })
  const joined = new Promise<void>((resolve, reject) => {
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      said += text
      if (said.includes('joined')) resolve()
    })
    child.on('close', () => reject(new Error(`rank ${rank} ended before it joined: ${errors}`)))
  })
  const end = new Promise<Awaited<RankProcess['end']>>((resolve, reject) => {
    child.on('error', reject)
    child.on('close', (code) => resolve({ code, lines: said.trim().split('\n'), errors }))
  })
  return { process: child, joined, end }
}

// A process that hangs looks as one whose machine is gone: SIGSTOP.
test.each([
  [1, 'SIGKILL', /rank 1 of 3 ended, or its connection was lost/],
  [0, 'SIGKILL', /rank 0 of 3 ended, or its connection was lost/],
  [2, 'SIGSTOP', /rank 2 of 3 was not heard of for 3 s/],
] as const)('rank %i gets %s: the others end by themselves, with its name', { timeout: 60_000 }, async (victim, signal, reason) => {
  const port = await freePort()
  const ranks = Array.from({ length: SIZE }, (_, rank) => start(rank, port))
  try {
    await Promise.all(ranks.map(({ joined }) => joined))
    ranks[victim].process.kill(signal)
    for (const [rank, { end }] of ranks.entries()) {
      if (rank === victim) continue
      const { code, lines, errors } = await end
      expect({ code, errors }).toEqual({ code: 0, errors: '' })
      expect(lines[1]).toMatch(reason)
    }
  } finally {
    for (const { process } of ranks) process.kill('SIGKILL')
  }
})
