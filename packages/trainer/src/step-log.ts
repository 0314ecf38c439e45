import { appendFile, mkdir, readFile, truncate } from 'node:fs/promises'
import { dirname } from 'node:path'
import { InvalidConfigError, InvalidFileError } from '@phsa/core'
import type { StepEvent } from './step-event.js'

/** The JSONL log of a run: one object a step, appended and complete after each. */
export class StepLog {
  readonly path: string

  private constructor(path: string) {
    this.path = path
  }

  /**
   * Opens a log for appending.
   * @param resumedAt step of the checkpoint that the run continues from: lines past it are cut, because those steps are done again
   * @throws InvalidConfigError when the file cannot be written
   */
  static async open(path: string, resumedAt?: number): Promise<StepLog> {
    try {
      await mkdir(dirname(path), { recursive: true })
      await appendFile(path, '')
    } catch (cause) {
      throw new InvalidConfigError(
        'log',
        `the log ${path} cannot be written (${(cause as Error).message}); give a file in a writable folder.`,
        { cause },
      )
    }
    if (resumedAt !== undefined) await cutAfter(path, resumedAt)
    return new StepLog(path)
  }

  async append({ checkpoint: _, ...event }: StepEvent): Promise<void> {
    try {
      await appendFile(this.path, `${JSON.stringify(event)}\n`)
    } catch (cause) {
      throw new InvalidFileError(`the log ${this.path} could not be written (${(cause as Error).message}); is the disk full?`, { cause })
    }
  }
}

/** Cuts the trailing lines of later steps, and a last line that a kill left half written. */
async function cutAfter(path: string, step: number): Promise<void> {
  const text = await readFile(path, 'utf8')
  let end = text.length
  while (end > 0) {
    const start = text.lastIndexOf('\n', end - 2) + 1
    const logged = text[end - 1] === '\n' ? stepOf(text.slice(start, end)) : undefined
    if (logged !== undefined && logged <= step) break
    end = start
  }
  await truncate(path, Buffer.byteLength(text.slice(0, end)))
}

/** Step of a line; undefined where the line is damaged. */
function stepOf(line: string): number | undefined {
  try {
    const { step } = JSON.parse(line) as { step?: unknown }
    return typeof step === 'number' ? step : undefined
  } catch (error) {
    if (error instanceof SyntaxError) return undefined
    throw error
  }
}
