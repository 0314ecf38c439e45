import { expect, test, vi } from 'vitest'
import { ExitCode } from '../src/exit-code.js'
import { interruptible } from '../src/interruption.js'

test.each(['SIGINT', 'SIGTERM'] as const)('the first %s asks for a clean stop, the second ends at once', async (signal) => {
  const said = vi.spyOn(process.stderr, 'write').mockReturnValue(true)
  const exit = vi.spyOn(process, 'exit').mockReturnValue(undefined as never)
  try {
    await interruptible(async (interruption) => {
      expect(interruption.requested).toBe(false)
      process.emit(signal)
      expect(interruption.requested).toBe(true)
      expect(said).toHaveBeenCalledWith(expect.stringContaining('press Ctrl-C again'))
      expect(exit).not.toHaveBeenCalled()
      process.emit(signal)
    })
    expect(exit).toHaveBeenCalledWith(ExitCode.interrupted)
  } finally {
    said.mockRestore()
    exit.mockRestore()
  }
})
