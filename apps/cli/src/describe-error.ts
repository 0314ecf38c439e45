import { isPhsaError, type PhsaError } from '@phsa/core'
import { CommanderError } from 'commander'
import { ExitCode } from './exit-code.js'
import { StoppedRunError } from './training/stopped-run-error.js'

export interface ErrorReport {
  readonly exitCode: ExitCode
  /** For stderr; undefined where commander has already printed it. */
  readonly text: string | undefined
}

const DEVICE_CODES = ['backend-unavailable', 'backend-lost', 'out-of-memory']
/** Errors of the file system that a wrong path or a full disk explains, in words for people. */
const FILE_SYSTEM_REASONS: Readonly<Record<string, string>> = {
  ENOENT: 'does not exist',
  EACCES: 'may not be accessed; check its permissions',
  EPERM: 'may not be accessed; check its permissions',
  EISDIR: 'is a folder; give a file',
  ENOTDIR: 'lies under something that is no folder',
  EEXIST: 'exists already and is no folder',
  EROFS: 'is on a read-only file system',
  ENOSPC: 'cannot be written: the disk is full',
  EDQUOT: 'cannot be written: the quota is used up',
  EFBIG: 'cannot be written: it would be larger than this system allows',
}

/**
 * How an error is shown and which exit code it gives: errors that explain themselves as one message, unexpected ones with their stack.
 * @param verbose stacks for all of them
 */
export function describeError(error: unknown, verbose: boolean): ErrorReport {
  if (error instanceof CommanderError) {
    return { exitCode: error.exitCode === 0 ? ExitCode.ok : ExitCode.badInput, text: undefined }
  }
  if (isPhsaError(error)) {
    return { exitCode: exitCodeOf(error), text: verbose && error.stack ? error.stack : `phsa: ${error.message}` }
  }
  const explained = explainError(error)
  if (explained !== undefined) {
    return { exitCode: ExitCode.badInput, text: verbose && error instanceof Error && error.stack ? error.stack : `phsa: ${explained}` }
  }
  const detail = error instanceof Error ? (error.stack ?? error.message) : String(error)
  return { exitCode: ExitCode.unexpected, text: `phsa: unexpected error, please report it.\n${detail}` }
}

function exitCodeOf(error: PhsaError): ExitCode {
  if (error instanceof StoppedRunError)
    return isPhsaError(error.cause) && isOfDevice(error.cause) ? ExitCode.backendUnavailable : ExitCode.stopped
  return isOfDevice(error) ? ExitCode.backendUnavailable : ExitCode.badInput
}

function isOfDevice({ code }: PhsaError): boolean {
  return DEVICE_CODES.includes(code)
}

/** The sentence of an error that explains itself: ours, and those of the file system; undefined for all others. */
export function explainError(error: unknown): string | undefined {
  if (isPhsaError(error)) return error.message
  if (isFullDisk(error)) return 'A file could not be written: the disk is full.'
  return isFileSystemError(error) ? `${error.path} ${FILE_SYSTEM_REASONS[error.code]}.` : undefined
}

/** Through an open file the error names no path. */
function isFullDisk(error: unknown): boolean {
  return error instanceof Error && 'code' in error && !('path' in error) && ['ENOSPC', 'EDQUOT', 'EFBIG'].includes(String(error.code))
}

function isFileSystemError(error: unknown): error is Error & { code: string; path: string } {
  if (!(error instanceof Error) || !('code' in error) || !('path' in error)) return false
  return typeof error.code === 'string' && typeof error.path === 'string' && error.code in FILE_SYSTEM_REASONS
}
