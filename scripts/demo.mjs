// `npm run demo`: installs and builds what is missing, then runs `phsa demo` with the arguments given after `--`.
import { succeeds } from './command.mjs'
import { ensureInstalled } from './ensure-installed.mjs'

const ready = ensureInstalled() && succeeds('npm', ['run', '--silent', 'build'])
const done = ready && succeeds(process.execPath, ['apps/cli/bin/phsa.js', 'demo', ...process.argv.slice(2)])
process.exit(done ? 0 : 1)
