import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { InvalidFileError } from '@phsa/core'
import { parseRecord, type TrainingRecord } from '../training-record.js'
import { RECORD_FILE } from './checkpoint-folder.js'

/** Where the run of a checkpoint stood. @throws InvalidFileError when the file is missing or damaged */
export async function readRecord(path: string): Promise<TrainingRecord> {
  const file = join(path, RECORD_FILE)
  try {
    return parseRecord(JSON.parse(await readFile(file, 'utf8')))
  } catch (cause) {
    throw new InvalidFileError(`${file} is no record of a training run (${(cause as Error).message}); give another checkpoint.`, { cause })
  }
}
