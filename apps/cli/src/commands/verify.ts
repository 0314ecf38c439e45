import { readdir, readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { type AttentionBackend, type DType, InvalidFileError, isPhsaError, parseSafetensors } from '@phsa/core'
import { verifyAttentionFixture } from '@phsa/core/testing'
import { verifyModelFixture } from '@phsa/model'
import { modelBackend, withAttentionBackend } from '../backends.js'
import { ExitCode } from '../exit-code.js'
import { reportJson } from '../report-json.js'
import { formatTable } from '../terminal/table.js'
import { UsageError } from '../usage-error.js'

export interface VerifyOptions {
  readonly backend?: string
  /** Of a model folder: element type on the backend. */
  readonly dtype?: DType
  readonly json?: boolean
}

/** One compared quantity with its error and what is allowed. */
interface Finding {
  readonly name: string
  readonly error: number
  readonly bound: number
  readonly ok: boolean
  readonly detail?: string
}

/** Compares a backend with a file that was computed elsewhere (spec 11): an attention file, a folder of such files, or a model folder. Exit code 1 when something is out of bounds. */
export async function runVerify(path: string, { backend: name, dtype, json }: VerifyOptions): Promise<ExitCode> {
  return withAttentionBackend(name, async (backend) => {
    const findings: readonly Finding[] = await verifyPath(path, backend, dtype)
    const failed = findings.filter(({ ok }) => !ok)
    if (json) {
      process.stdout.write(reportJson({ path, backend: backend.name, device: backend.device, ok: failed.length === 0, findings }))
    } else {
      process.stdout.write(`${path} on ${backend.name} (${backend.device})\n\n${findingsTable(findings)}\n\n`)
      process.stdout.write(
        failed.length === 0 ? `all ${findings.length} within bounds\n` : `${failed.length} of ${findings.length} out of bounds\n`,
      )
    }
    return failed.length === 0 ? ExitCode.ok : ExitCode.checkFailed
  })
}

async function verifyPath(path: string, backend: AttentionBackend, dtype: DType | undefined): Promise<readonly Finding[]> {
  if (!(await stat(path)).isDirectory()) {
    refuseDType(path, dtype)
    return verifyAttentionFile(path, backend)
  }
  const names = await readdir(path)
  const attentionFiles = names.includes('config.json') ? [] : names.filter((name) => name.endsWith('.safetensors')).sort()
  if (attentionFiles.length === 0) return verifyModelFixture(path, modelBackend(backend), dtype)
  refuseDType(path, dtype)
  const findings: Finding[] = []
  for (const file of attentionFiles) {
    const found = await verifyAttentionFile(join(path, file), backend)
    findings.push(...found.map((finding) => ({ ...finding, name: `${file}: ${finding.name}` })))
  }
  return findings
}

/** @throws UsageError: an attention file names its own type */
function refuseDType(path: string, dtype: DType | undefined): void {
  if (dtype !== undefined) throw new UsageError(`${path} holds attention of a type of its own; --dtype is for model folders.`)
}

async function verifyAttentionFile(path: string, backend: AttentionBackend): Promise<Finding[]> {
  try {
    const { checks } = await verifyAttentionFixture(parseSafetensors(await readFile(path), path), backend)
    return checks.map(({ measured, ...check }) => ({ ...check, error: measured }))
  } catch (error) {
    if (!isPhsaError(error, 'invalid-file') || error.message.includes(path)) throw error
    throw new InvalidFileError(`${path}: ${error.message}`, { cause: error })
  }
}

function findingsTable(findings: readonly Finding[]): string {
  const rows = findings.map(({ name, error, bound, ok, detail }) => [
    name,
    error.toExponential(2),
    bound.toExponential(2),
    ok ? 'ok' : `OUT${detail ? `: ${detail}` : ''}`,
  ])
  return formatTable(['tensor', 'error', 'bound', ''], rows)
}
