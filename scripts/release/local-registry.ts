import { type ChildProcess, spawn } from 'node:child_process'
import { cpSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import type { AddressInfo } from 'node:net'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { output, root } from '../command.mjs'

const OURS = fileURLToPath(new URL('registry/', import.meta.url))
const SECONDS_TO_START = 60

/** An npm registry on this machine that begins empty, has no other registry behind it, and lets everybody publish. */
export class LocalRegistry {
  private constructor(
    private readonly server: ChildProcess,
    /** With a slash at the end. */
    readonly url: string,
  ) {}

  /**
   * Starts Verdaccio, which is installed at first use: `npm ci` of this repository does without it.
   *
   * @param folder for its configuration and what is published
   * @throws Error with what it printed, where it does not answer within a minute
   */
  static async start(folder: string): Promise<LocalRegistry> {
    const verdaccio = install()
    mkdirSync(folder, { recursive: true })
    const everybody = { access: '$all', publish: '$all' }
    const settings = {
      storage: join(folder, 'storage'),
      uplinks: {},
      packages: { '**': everybody },
      web: { enable: false },
      max_body_size: '200mb',
      log: { type: 'stdout', level: 'warn' },
    }
    const config = join(folder, 'config.yaml')
    // JSON is YAML.
    writeFileSync(config, JSON.stringify(settings))
    const port = await freePort()
    const server = spawn(process.execPath, [verdaccio, '--config', config, '--listen', `localhost:${port}`], {
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    const printed: string[] = []
    for (const stream of [server.stdout, server.stderr]) stream.setEncoding('utf8').on('data', (part) => printed.push(part))
    const registry = new LocalRegistry(server, `http://localhost:${port}/`)
    for (const end = Date.now() + SECONDS_TO_START * 1000; !(await registry.answers()); await wait(200)) {
      if (server.exitCode === null && Date.now() < end) continue
      registry.stop()
      throw new Error(`Verdaccio did not start:\n${printed.join('')}`)
    }
    return registry
  }

  /** The lines of an `.npmrc` with which npm takes `@phsa` packages from here, and may publish; whatever else comes from where it always does. */
  get settings(): string {
    // npm publishes only with a token, this registry asks for none.
    return `@phsa:registry=${this.url}\n${this.url.slice('http:'.length)}:_authToken=rehearsal\n`
  }

  stop(): void {
    this.server.kill()
  }

  private async answers(): Promise<boolean> {
    return fetch(`${this.url}-/ping`).then(
      ({ ok }) => ok,
      () => false,
    )
  }
}

/** The path of Verdaccio's program. */
function install(): string {
  const folder = join(root, 'node_modules/.cache/rehearsal-registry')
  const lock = 'package-lock.json'
  const same = existsSync(join(folder, lock)) && readFileSync(join(folder, lock)).equals(readFileSync(join(OURS, lock)))
  // npm writes the hidden lockfile at the end, so that a half-finished install counts as missing.
  if (!same || !existsSync(join(folder, 'node_modules/.package-lock.json'))) {
    cpSync(OURS, folder, { recursive: true })
    output('npm', ['ci', '--prefer-offline', '--no-audit', '--no-fund', '--ignore-scripts'], { cwd: folder })
  }
  return join(folder, 'node_modules/verdaccio/bin/verdaccio')
}

function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer().on('error', reject)
    server.listen(0, 'localhost', () => {
      const { port } = server.address() as AddressInfo
      server.close(() => resolve(port))
    })
  })
}
