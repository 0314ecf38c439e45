import { randomUUID } from 'node:crypto'
import { readFile, rm, writeFile } from 'node:fs/promises'
import { hostname } from 'node:os'
import { join } from 'node:path'
import { InvalidConfigError, InvalidFileError } from '@phsa/core'

/** Names the process that writes into a folder of checkpoints; a name that no list of checkpoints has. */
const CLAIM_FILE = '.writer.json'

/** Who writes into a folder. */
interface Writer {
  /** Of this run, not of the process: one process may train twice into a folder. */
  readonly id: string
  readonly host: string
  readonly pid: number
  /** What tells the process from a later one of the same number; undefined where the system does not say. */
  readonly birth?: string
}

/**
 * The right to write into a folder of checkpoints: two runs there would remove each other's files and mix their logs. One whose process is known to
 * run keeps it; one that cannot be known, such as of another host, loses it to the newer run and finds out at its next step. A kill leaves nothing
 * that somebody would have to remove.
 */
export class RunClaim {
  readonly #folder: string
  readonly #id: string

  private constructor(folder: string, id: string) {
    this.#folder = folder
    this.#id = id
  }

  /**
   * @param folder one that is there
   * @throws InvalidConfigError where another process of this host trains into it; errors of the file system
   */
  static async take(folder: string): Promise<RunClaim> {
    const other = await writerOf(folder)
    if (other && (await isRunning(other))) {
      throw new InvalidConfigError(
        'checkpoint.folder',
        `process ${other.pid} trains into ${folder} now, and two runs cannot; wait until it has ended, or give another folder.`,
      )
    }
    const writer: Writer = { id: randomUUID(), host: hostname(), pid: process.pid, birth: await birthOf(process.pid) }
    await writeFile(join(folder, CLAIM_FILE), JSON.stringify(writer))
    return new RunClaim(folder, writer.id)
  }

  /** @throws InvalidFileError where another run has begun to write into the folder */
  async require(): Promise<void> {
    const writer = await writerOf(this.#folder)
    if (writer?.id === this.#id) return
    const who = writer ? `process ${writer.pid} on ${writer.host} trains into it now` : `its ${CLAIM_FILE} is gone`
    throw new InvalidFileError(
      `${this.#folder} is not this run's any more: ${who}. This run ends, so that its files stay those of one run.`,
    )
  }

  /** Gives it back, where nobody else has it. */
  async release(): Promise<void> {
    if ((await writerOf(this.#folder))?.id === this.#id) await rm(join(this.#folder, CLAIM_FILE), { force: true })
  }
}

/** Undefined where there is none, or a kill left half of it. */
async function writerOf(folder: string): Promise<Writer | undefined> {
  try {
    return JSON.parse(await readFile(join(folder, CLAIM_FILE), 'utf8')) as Writer
  } catch (error) {
    if (error instanceof SyntaxError || (error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw error
  }
}

/** Whether it is another process than this one, and certain to run. */
async function isRunning({ host, pid, birth }: Writer): Promise<boolean> {
  if (host !== hostname() || pid === process.pid || birth === undefined) return false
  return (await birthOf(pid)) === birth
}

/** Boot of the system, and clock ticks from there to the start of the process; Linux alone tells. */
async function birthOf(pid: number): Promise<string | undefined> {
  if (process.platform !== 'linux') return undefined
  try {
    const [boot, status] = await Promise.all([readFile('/proc/sys/kernel/random/boot_id', 'utf8'), readFile(`/proc/${pid}/stat`, 'utf8')])
    // The name of the program, in parentheses, may hold spaces; the start is the 20th field behind it.
    return `${boot.trim()} ${status.slice(status.lastIndexOf(')') + 2).split(' ')[19]}`
  } catch (error) {
    if (['ENOENT', 'ESRCH', 'EACCES'].includes((error as NodeJS.ErrnoException).code ?? '')) return undefined
    throw error
  }
}
