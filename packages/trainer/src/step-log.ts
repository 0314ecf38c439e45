import { appendFile, mkdir, readFile, truncate } from 'node:fs/promises'
import { dirname } from 'node:path'
import { InvalidConfigError, InvalidFileError } from '@phsa/core'
import { syncToDisk } from './checkpoint/sync-to-disk.js'
import type { StepEvent } from './step-event.js'

/** The JSONL log of a run: one object a step, appended and complete after each. */
export class StepLog {
  readonly path: string

  private constructor(path: string) {
    this.path = path
  }

  /**
   * Opens a log for appending. A new run takes a new or empty file: one log never holds two runs.
   * @param resumedAt step of the checkpoint that the run continues from, 0 for none: lines past it are cut, because those steps are done again
   * @param mostSteps last step that the log may have; one that has later ones is another run's
   * @throws InvalidConfigError when the file cannot be written, is no step log, or is that of another run; it stays as it was
   */
  static async open(path: string, resumedAt?: number, mostSteps = Number.POSITIVE_INFINITY): Promise<StepLog> {
    let text: string
    try {
      await mkdir(dirname(path), { recursive: true })
      await appendFile(path, '')
      text = await readFile(path, 'utf8')
    } catch (cause) {
      throw new InvalidConfigError(
        'log',
        `the log ${path} cannot be written (${(cause as Error).message}); give a file in a writable folder.`,
        { cause },
      )
    }
    if (text !== '') {
      requireLog(path, text)
      if (resumedAt === undefined || lastStep(text) > mostSteps) {
        throw new InvalidConfigError(
          'log',
          `the log ${path} holds the steps of another run; resume that run from its checkpoint (with orStart where it was stopped before the first one, which begins the log anew), give another file, or remove this one.`,
        )
      }
      await cutAfter(path, text, resumedAt)
    }
    return new StepLog(path)
  }

  async append({ checkpoint: _, ...event }: StepEvent): Promise<void> {
    try {
      await appendFile(this.path, `${JSON.stringify(event)}\n`)
    } catch (cause) {
      throw new InvalidFileError(`the log ${this.path} could not be written (${(cause as Error).message}); is the disk full?`, { cause })
    }
  }

  /** Flushes the lines to the disk: before a checkpoint, so that no power cut leaves a checkpoint whose steps the log lacks. */
  async sync(): Promise<void> {
    await syncToDisk(this.path)
  }
}

/** @throws InvalidConfigError for a file that begins with anything but a step: cutting or appending would damage what it holds */
function requireLog(path: string, text: string): void {
  if (stepOf(text.split('\n', 1)[0]) !== undefined) return
  throw new InvalidConfigError('log', `${path} is no step log: its first line is no JSON object with a step; give another file.`)
}

/** Cuts the trailing lines of later steps, and a last line that a kill left half written. */
async function cutAfter(path: string, text: string, step: number): Promise<void> {
  let end = text.length
  while (end > 0) {
    const start = text.lastIndexOf('\n', end - 2) + 1
    const logged = text[end - 1] === '\n' ? stepOf(text.slice(start, end)) : undefined
    if (logged !== undefined && logged <= step) break
    end = start
  }
  await truncate(path, Buffer.byteLength(text.slice(0, end)))
}

function lastStep(text: string): number {
  return (
    text
      .trimEnd()
      .split('\n')
      .map(stepOf)
      .findLast((step) => step !== undefined) ?? 0
  )
}

/** Step of a line; undefined where the line is damaged. */
function stepOf(line: string): number | undefined {
  try {
    const step = (JSON.parse(line) as { step?: unknown } | null)?.step
    return typeof step === 'number' ? step : undefined
  } catch (error) {
    if (error instanceof SyntaxError) return undefined
    throw error
  }
}
