import { execFileSync, spawn } from 'node:child_process'
import { mkdtempSync } from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { vi } from 'vitest'
import { runProgram } from '../src/program.js'

export interface PhsaRun {
  readonly code: number | null
  readonly stdout: string
  readonly stderr: string
}

const main = fileURLToPath(new URL('../src/main.ts', import.meta.url))
const tsx = pathToFileURL(createRequire(import.meta.url).resolve('tsx')).href
const rawImports = new URL('../../../scripts/raw-imports.mjs', import.meta.url).href
const tsconfig = fileURLToPath(new URL('../tsconfig.json', import.meta.url))
export const fixtures = fileURLToPath(new URL('../../../fixtures/', import.meta.url))

/**
 * The sources of the command in a process of their own, without a terminal.
 * @param signalAt sends SIGINT once this text stands in stderr
 * @param input what stdin holds
 * @param deaf whether nobody reads stderr
 */
export function runPhsa(
  args: readonly string[],
  { signalAt, cwd, input, deaf }: { signalAt?: string; cwd?: string; input?: string; deaf?: boolean } = {},
): Promise<PhsaRun> {
  const { FORCE_COLOR: _, NO_COLOR: __, ...environment } = process.env
  const child = spawn(process.execPath, ['--import', tsx, '--import', rawImports, main, ...args], {
    cwd,
    env: { ...environment, TSX_TSCONFIG_PATH: tsconfig },
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

/** What is refused before a command does anything, in this process: its exit code and stderr. */
export async function refusal(args: readonly string[]): Promise<Omit<PhsaRun, 'stdout'>> {
  let stderr = ''
  const write = vi.spyOn(process.stderr, 'write').mockImplementation((text) => {
    stderr += text
    return true
  })
  try {
    return { code: await runProgram(args), stderr }
  } finally {
    write.mockRestore()
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
