import { stat } from 'node:fs/promises'
import { type ExportOptions, exportCheckpoint, findCheckpoint } from '@phsa/trainer'
import { ExitCode } from '../exit-code.js'
import { requireFolder } from '../files/prepare-folder.js'
import { reportJson } from '../report-json.js'
import { checkpointFolder } from '../training/run-files.js'

export interface ExportCommandOptions {
  readonly out: string
  readonly best?: boolean
  readonly weights: NonNullable<ExportOptions['weights']>
  readonly dtype?: ExportOptions['dtype']
  readonly tokenizer?: string
  readonly shardGigabytes: number
  readonly json?: boolean
}

/** Writes a checkpoint as a model folder. */
export async function runExport(path: string, options: ExportCommandOptions): Promise<ExitCode> {
  const { out, best, weights, dtype, tokenizer, shardGigabytes, json } = options
  const from = await findCheckpoint(await placeOf(path), best ? 'best' : 'newest')
  await requireFolder(out)
  const { checkpoint, step } = await exportCheckpoint(from, out, {
    weights,
    dtype,
    tokenizerFrom: tokenizer,
    maxShardBytes: shardGigabytes * 1e9,
  })
  const what = weights === 'ema' ? 'the averaged weights' : 'the weights'
  process.stdout.write(
    json ? reportJson({ checkpoint, step, weights, model: out }) : `${what} after step ${step}, of ${checkpoint}; model in ${out}\n`,
  )
  return ExitCode.ok
}

/** The folder of a run stands for its checkpoints. */
async function placeOf(path: string): Promise<string> {
  const within = checkpointFolder(path)
  const isFolder = await stat(within).then(
    (found) => found.isDirectory(),
    (error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT' || error.code === 'ENOTDIR') return false
      throw error
    },
  )
  return isFolder ? within : path
}
