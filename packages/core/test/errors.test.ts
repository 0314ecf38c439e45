import { describe, expect, test } from 'vitest'
import {
  BackendLostError,
  BackendMismatchError,
  BackendUnavailableError,
  CaptureError,
  ContractVersionError,
  DisposedError,
  InvalidConfigError,
  isPhsaError,
  OutOfMemoryError,
  PhsaError,
  ShapeError,
  UnsupportedError,
} from '../src/index.js'

describe('errors', () => {
  test.each([
    [new BackendLostError('gone'), 'backend-lost', 'BackendLostError'],
    [new BackendMismatchError('other'), 'backend-mismatch', 'BackendMismatchError'],
    [new BackendUnavailableError('none'), 'backend-unavailable', 'BackendUnavailableError'],
    [new CaptureError('not here'), 'capture', 'CaptureError'],
    [new ContractVersionError('old'), 'contract-version', 'ContractVersionError'],
    [new DisposedError('done'), 'disposed', 'DisposedError'],
    [new InvalidConfigError('topK', 'no'), 'invalid-config', 'InvalidConfigError'],
    [new OutOfMemoryError('full'), 'out-of-memory', 'OutOfMemoryError'],
    [new ShapeError('odd'), 'shape', 'ShapeError'],
    [new UnsupportedError('head-dim', 'no'), 'unsupported', 'UnsupportedError'],
  ])('%s carries the code %s', (error, code, name) => {
    expect(error).toBeInstanceOf(PhsaError)
    expect(error).toMatchObject({ code, name })
    expect(isPhsaError(error)).toBe(true)
    expect(isPhsaError(error, code)).toBe(true)
    expect(isPhsaError(error, 'another-code')).toBe(false)
  })

  test('keep their cause and what they are about', () => {
    const cause = new Error('ENOENT')
    expect(new BackendUnavailableError('no libcuda.so.1', { cause }).cause).toBe(cause)
    expect(new InvalidConfigError('topK', 'no').setting).toBe('topK')
    expect(new UnsupportedError('head-dim', 'no').feature).toBe('head-dim')
  })

  test('are recognised from another copy of this package', () => {
    // What a duplicated install has: a class of its own, the same mark.
    const mark: unique symbol = Symbol.for('phsa.error')
    class OtherCopyError extends Error {
      readonly code = 'disposed'
      readonly [mark] = true
    }
    const foreign: unknown = new OtherCopyError('used after dispose')
    expect(foreign).not.toBeInstanceOf(PhsaError)
    expect(isPhsaError(foreign)).toBe(true)
    expect(isPhsaError(foreign, 'disposed')).toBe(true)
    expect(isPhsaError(foreign, 'shape')).toBe(false)
  })

  test.each([[null], [undefined], ['disposed'], [new Error('disposed')], [{ code: 'disposed' }]])('%s is none of ours', (value) => {
    expect(isPhsaError(value)).toBe(false)
  })
})
