// `npm run demo`: installs and builds what is missing, then runs `phsa demo` with the arguments given after `--`.
import { spawnSync } from 'node:child_process'
import { root, succeeds } from './command.mjs'
import { ensureInstalled } from './ensure-installed.mjs'

// Ctrl-C goes to what runs here too, which ends in its own way: this waits for it.
process.on('SIGINT', () => undefined)

if (!ensureInstalled() || !succeeds('npm', ['run', '--silent', 'build'])) process.exit(1)
const { status } = spawnSync(process.execPath, ['apps/cli/bin/phsa.js', 'demo', ...process.argv.slice(2)], { cwd: root, stdio: 'inherit' })
process.exit(status ?? 1)
