import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { BackendUnavailableError } from '@phsa/core'
import { expect, test, vi } from 'vitest'
import { programCode, resultWriter } from '../bench-program.js'

test('a result takes the place of the one before, and nothing else is left', () => {
  const folder = mkdtempSync(join(tmpdir(), 'phsa-bench-program-'))
  try {
    const write = resultWriter(join(folder, 'ours.json'))
    write({ rows: [1] })
    expect(() => write({ rows: [1n] })).toThrow(TypeError)
    expect(JSON.parse(readFileSync(join(folder, 'ours.json'), 'utf8'))).toEqual({ rows: [1] })
    write({ rows: [1, 2] })
    expect(readFileSync(join(folder, 'ours.json'), 'utf8')).toBe('{\n  "rows": [\n    1,\n    2\n  ]\n}\n')
    expect(readdirSync(folder)).toEqual(['ours.json'])
  } finally {
    rmSync(folder, { recursive: true })
  }
})

test('the exit code says whether all was right, or that there is no device, with the reason', async () => {
  const error = vi.spyOn(console, 'error').mockReturnValue()
  try {
    expect(await programCode(async () => true)).toBe(0)
    expect(await programCode(async () => false)).toBe(1)
    expect(error).not.toHaveBeenCalled()
    expect(await programCode(() => Promise.reject(new BackendUnavailableError('no driver')))).toBe(3)
    expect(error).toHaveBeenCalledExactlyOnceWith(expect.stringContaining('no driver'))
    await expect(programCode(() => Promise.reject(new RangeError('another')))).rejects.toThrow('another')
  } finally {
    error.mockRestore()
  }
})
