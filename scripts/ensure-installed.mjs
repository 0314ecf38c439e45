import { existsSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { root, succeeds } from './command.mjs'

/**
 * Runs `npm ci` where node_modules is missing or older than package-lock.json.
 *
 * @returns true if the dependencies are there
 */
export function ensureInstalled() {
  // npm writes this file at the end of each install, so a half-finished one counts as missing.
  const installed = join(root, 'node_modules/.package-lock.json')
  if (existsSync(installed) && statSync(installed).mtimeMs >= statSync(join(root, 'package-lock.json')).mtimeMs) return true
  return succeeds('npm', ['ci', '--prefer-offline', '--no-audit', '--no-fund'])
}
