import { appendFile, mkdir, readdir, readFile, rm, truncate, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { InvalidConfigError, InvalidFileError } from '@phsa/core'
import { syncToDisk } from '../checkpoint/sync-to-disk.js'
import type { StepEvent } from '../step-event.js'
import { eachRecord, encodeRecord } from './event-record.js'
import { eventScalars } from './event-scalars.js'

/** What decides how a folder of event files is opened. */
export interface TensorboardStart {
  /** Step of the checkpoint that the run continues from, 0 for none; undefined for a new run. */
  readonly resumedAt?: number
  /** Last step that the folder may have; one with later ones is another run's. */
  readonly mostSteps?: number
  /** What the run was asked to do; TensorBoard shows it as text. Anything that JSON takes. */
  readonly description: unknown
}

/** TensorBoard's name for what it reads. */
const EVENT_FILE = /tfevents/
const VERSION_EVENT = { kind: 'version' } as const

/**
 * A folder of event files as TensorBoard reads them: each step is one record, appended whole. A resumed run cuts the records past its checkpoint
 * from the files that are there and goes on in a new one, so that no step is there twice and a TensorBoard that is reading meanwhile is not upset.
 */
export class TensorboardLog {
  /** The file that this run appends to. */
  readonly path: string

  private constructor(path: string) {
    this.path = path
  }

  /**
   * @throws InvalidConfigError when the folder cannot be written, or holds the events of another run; it stays as it was
   */
  static async open(
    folder: string,
    { resumedAt, mostSteps = Number.POSITIVE_INFINITY, description }: TensorboardStart,
  ): Promise<TensorboardLog> {
    let files: EventFile[]
    try {
      await mkdir(folder, { recursive: true })
      files = await eventFiles(folder)
    } catch (cause) {
      throw unwritable(folder, cause)
    }
    if (files.length > 0 && (resumedAt === undefined || files.some(({ lastStep }) => lastStep > mostSteps))) {
      throw new InvalidConfigError(
        'tensorboard',
        `the folder ${folder} holds the events of another run; resume that run from its checkpoint (with orStart where it was stopped before the first one), give another folder, or remove its event files.`,
      )
    }
    const now = Date.now() / 1000
    const number = files.reduce((next, { path }) => Math.max(next, Number(/\d+$/.exec(path)?.[0] ?? 0) + 1), 0)
    const log = new TensorboardLog(join(folder, `events.out.tfevents.${Math.floor(now)}.phsa.${String(number).padStart(4, '0')}`))
    try {
      for (const file of files) await cutAfter(file, resumedAt ?? 0)
      const first = (resumedAt ?? 0) + 1
      await writeFile(
        log.path,
        Buffer.concat([
          encodeRecord({ wallTime: now, content: VERSION_EVENT }),
          ...(resumedAt ? [encodeRecord({ wallTime: now, step: first, content: { kind: 'restart' } })] : []),
          encodeRecord({ wallTime: now, step: first, content: { kind: 'text', tag: 'run', text: asMarkdown(description) } }),
        ]),
      )
    } catch (cause) {
      throw unwritable(folder, cause)
    }
    return log
  }

  /** @throws InvalidFileError when the disk takes no more */
  async append(event: StepEvent): Promise<void> {
    const scalars = eventScalars(event)
    try {
      await appendFile(this.path, encodeRecord({ wallTime: Date.now() / 1000, step: event.step, content: { kind: 'scalars', scalars } }))
    } catch (cause) {
      throw new InvalidFileError(`the event file ${this.path} could not be written (${(cause as Error).message}); is the disk full?`, {
        cause,
      })
    }
  }

  /** Flushes to the disk, before a checkpoint. */
  async sync(): Promise<void> {
    await syncToDisk(this.path)
  }
}

interface EventFile {
  readonly path: string
  readonly records: readonly { readonly end: number; readonly step: number }[]
  readonly lastStep: number
}

async function eventFiles(folder: string): Promise<EventFile[]> {
  const names = (await readdir(folder)).filter((name) => EVENT_FILE.test(name))
  return Promise.all(
    names.map(async (name) => {
      const path = join(folder, name)
      const records = [...eachRecord(await readFile(path))]
      return { path, records, lastStep: records.reduce((last, { step }) => Math.max(last, step), 0) }
    }),
  )
}

/** Cuts the records of later steps, and a last one that a kill left half written; a file that keeps no step goes. */
async function cutAfter({ path, records }: EventFile, step: number): Promise<void> {
  const later = records.findIndex((record) => record.step > step)
  const kept = later === -1 ? records : records.slice(0, later)
  if (kept.some((record) => record.step > 0)) await truncate(path, kept[kept.length - 1].end)
  else await rm(path)
}

function asMarkdown(description: unknown): string {
  return `\`\`\`json\n${JSON.stringify(description, undefined, 2)}\n\`\`\``
}

function unwritable(folder: string, cause: unknown): InvalidConfigError {
  const reason = (cause as Error).message
  return new InvalidConfigError('tensorboard', `event files cannot be written to ${folder} (${reason}); give a writable folder.`, { cause })
}
