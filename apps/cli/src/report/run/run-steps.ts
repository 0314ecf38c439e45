import { createReadStream } from 'node:fs'
import { createInterface } from 'node:readline'
import type { StepEvent } from '@phsa/trainer'
import { UsageError } from '../../usage-error.js'

/** A step as log.jsonl has it; numbers that were not finite are NaN. */
export type LoggedStep = Omit<StepEvent, 'checkpoint'>

/**
 * The steps of a log.jsonl, also of a run that goes on or was killed: a last line that is half written is left out.
 * @throws UsageError for a file that is not there, holds no step yet, or is no step log
 */
export async function readSteps(path: string): Promise<LoggedStep[]> {
  const steps: LoggedStep[] = []
  let damaged: number | undefined
  let count = 0
  try {
    for await (const line of createInterface({ input: createReadStream(path), crlfDelay: Number.POSITIVE_INFINITY })) {
      count++
      // Only the last line of a log can be unfinished.
      if (damaged !== undefined)
        throw new UsageError(`${path} is no step log: line ${damaged} is no step; give the --out folder of a run, or its log.jsonl.`)
      const step = parseStep(line)
      if (step) steps.push(step)
      else damaged = count
    }
  } catch (cause) {
    if (cause instanceof UsageError) throw cause
    throw new UsageError(
      `the log ${path} cannot be read (${(cause as Error).message}); give the --out folder of a run, or its log.jsonl.`,
      {
        cause,
      },
    )
  }
  if (steps.length === 0) throw new UsageError(`${path} holds no step yet; wait for the first one.`)
  return steps
}

function parseStep(line: string): LoggedStep | undefined {
  try {
    const step = JSON.parse(line) as Record<string, unknown> | null
    if (typeof step?.step !== 'number' || typeof step.tokens !== 'number') return undefined
    return withNumbers(step) as unknown as LoggedStep
  } catch (error) {
    if (error instanceof SyntaxError) return undefined
    throw error
  }
}

/** Every null was a number that was not finite: JSON has no other word for it. */
function withNumbers(values: Readonly<Record<string, unknown>>): Record<string, unknown> {
  const restored = (value: unknown): unknown => {
    if (value === null) return Number.NaN
    return typeof value === 'object' && !Array.isArray(value) ? withNumbers(value as Record<string, unknown>) : value
  }
  return Object.fromEntries(Object.entries(values).map(([name, value]) => [name, restored(value)]))
}
