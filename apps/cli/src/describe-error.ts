import { isPhsaError } from '@phsa/core'
import { CommanderError } from 'commander'
import { ExitCode } from './exit-code.js'

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
    const exitCode = DEVICE_CODES.includes(error.code) ? ExitCode.backendUnavailable : ExitCode.badInput
    return { exitCode, text: verbose && error.stack ? error.stack : `phsa: ${error.message}` }
  }
  if (isFileSystemError(error)) {
    const reason = FILE_SYSTEM_REASONS[error.code]
    return { exitCode: ExitCode.badInput, text: verbose && error.stack ? error.stack : `phsa: ${error.path} ${reason}.` }
  }
  const detail = error instanceof Error ? (error.stack ?? error.message) : String(error)
  return { exitCode: ExitCode.unexpected, text: `phsa: unexpected error, please report it.\n${detail}` }
}

function isFileSystemError(error: unknown): error is Error & { code: string; path: string } {
  if (!(error instanceof Error) || !('code' in error) || !('path' in error)) return false
  return typeof error.code === 'string' && typeof error.path === 'string' && error.code in FILE_SYSTEM_REASONS
}
