import { type ChoiceFile, parseChoices } from '@phsa/trainer'
import { readText } from '../read-text.js'
import { UsageError } from '../usage-error.js'

/**
 * A multiple-choice file. Lines that are no record are named on stderr and left out.
 * @throws UsageError where no line is one
 */
export async function readChoices(path: string): Promise<ChoiceFile> {
  const file = parseChoices(await readText(path))
  for (const { line, reason } of file.faults.slice(0, SHOWN)) process.stderr.write(`${path}:${line}: left out: ${reason}\n`)
  if (file.faults.length > SHOWN) process.stderr.write(`${path}: ${file.faults.length - SHOWN} more lines are left out\n`)
  if (file.records.length > 0) return file
  throw new UsageError(
    `${path} has no record: a line is a JSON object with context (or query), choices and gold, the index of the right one.`,
  )
}

/** Faults that are named; the report has all of them. */
const SHOWN = 10
