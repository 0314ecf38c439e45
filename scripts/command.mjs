import { spawn, spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'

/** The repository's root folder. */
export const root = fileURLToPath(new URL('..', import.meta.url))

// npm and npx are .cmd files on Windows, which only a shell can start.
const needsShell = (/** @type {string} */ command) => process.platform === 'win32' && (command === 'npm' || command === 'npx')

/**
 * Runs a command with this terminal's output and no standard input.
 *
 * @param {string} command
 * @param {string[]} args
 * @param {import('node:child_process').SpawnSyncOptions} [options]
 * @returns {boolean} true if it exited with 0
 */
export function succeeds(command, args, options = {}) {
  const result = spawnSync(command, args, { cwd: root, stdio: ['ignore', 'inherit', 'inherit'], shell: needsShell(command), ...options })
  if (result.error) console.error(`${command}: ${result.error.message}`)
  return result.status === 0
}

/**
 * Runs a command beside others, without standard input.
 *
 * @param {string} command
 * @param {readonly string[]} args
 * @param {{ cwd?: string }} [options]
 * @returns {Promise<{ ok: boolean, text: string }>} whether it exited with 0, and both outputs
 */
export function collected(command, args, { cwd = root } = {}) {
  return new Promise((resolve) => {
    const child = spawn(command, args, { cwd, stdio: ['ignore', 'pipe', 'pipe'], shell: needsShell(command) })
    let text = ''
    for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', (part) => (text += part))
    child.on('error', (error) => resolve({ ok: false, text: `${text}${command}: ${error.message}\n` }))
    child.on('close', (code) => resolve({ ok: code === 0, text }))
  })
}

/**
 * Runs a command and returns its standard output.
 *
 * @param {string} command
 * @param {string[]} args
 * @param {Partial<import('node:child_process').SpawnSyncOptionsWithStringEncoding> } [options]
 * @returns {string}
 * @throws Error with both outputs, if it does not exit with 0
 */
export function output(command, args, options = {}) {
  const result = spawnSync(command, args, {
    cwd: root,
    stdio: ['ignore', 'pipe', 'pipe'],
    encoding: 'utf8',
    shell: needsShell(command),
    ...options,
  })
  if (result.error) throw result.error
  if (result.status !== 0) throw new Error(`${command} ${args.join(' ')} exited with ${result.status}\n${result.stdout}${result.stderr}`)
  return result.stdout
}
