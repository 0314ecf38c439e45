import { execFileSync, spawn } from 'node:child_process'
import { mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { vi } from 'vitest'
import { runProgram } from '../src/program.js'
import { phsaCommand, phsaEnvironment } from './phsa-command.js'

export interface PhsaRun {
  readonly code: number | null
  readonly stdout: string
  readonly stderr: string
}

interface RunSettings {
  readonly signalAt?: string
  readonly cwd?: string
  readonly input?: string
  readonly deaf?: boolean
  readonly largestFile?: number
}

export const fixtures = fileURLToPath(new URL('../../../fixtures/', import.meta.url))

/**
 * The command in a process of its own, without a terminal.
 * @param signalAt sends SIGINT once this text stands in stderr
 * @param input what stdin holds
 * @param deaf whether nobody reads stderr
 * @param largestFile KiB that a file can have: like a disk that is full
 */
export function runPhsa(args: readonly string[], { signalAt, cwd, input, deaf, largestFile }: RunSettings = {}): Promise<PhsaRun> {
  const { FORCE_COLOR: _, NO_COLOR: __, ...environment } = process.env
  const command = [process.execPath, ...phsaCommand, ...args]
  // In blocks of 512 bytes; the signal that would end the process is ignored, so that it sees an error.
  const limit = largestFile === undefined ? [] : ['sh', '-c', `trap '' XFSZ; ulimit -f ${largestFile * 2}; exec "$0" "$@"`]
  const [program, ...rest] = [...limit, ...command]
  const child = spawn(program, rest, {
    cwd,
    env: { ...environment, ...phsaEnvironment },
    stdio: 'pipe',
  })
  child.stdin.end(input)
  if (deaf) child.stderr.destroy()
  let stdout = ''
  let stderr = ''
  let signalled = false
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    stdout += text
  })
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    stderr += text
    if (signalAt === undefined || signalled || !stderr.includes(signalAt)) return
    signalled = true
    child.kill('SIGINT')
  })
  return new Promise((resolve, reject) => {
    child.on('error', reject)
    child.on('close', (code) => resolve({ code, stdout, stderr }))
  })
}

/** The command in this process, which spares the second that a new one takes to start: for all that needs no signal and no pipe. */
export async function runHere(args: readonly string[]): Promise<PhsaRun> {
  const written = { stdout: '', stderr: '' }
  const spies = (['stdout', 'stderr'] as const).map((name) =>
    vi.spyOn(process[name], 'write').mockImplementation((text, ...rest) => {
      written[name] += text
      for (const done of rest) if (typeof done === 'function') done()
      return true
    }),
  )
  try {
    return { code: await runProgram(args), ...written }
  } finally {
    for (const spy of spies) spy.mockRestore()
  }
}

/** An empty folder of the operating system's temporary ones. */
export function temporaryFolder(): string {
  return mkdtempSync(join(tmpdir(), 'phsa-cli-'))
}

/** Puts the bundled text and tokenizer where the sources look for them. */
export function copyAssets(): void {
  execFileSync(process.execPath, [fileURLToPath(new URL('../scripts/copy-assets.mjs', import.meta.url))])
}
