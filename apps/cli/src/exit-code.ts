/** What the process tells its caller; listed in `phsa --help` and the README. */
export const ExitCode = {
  ok: 0,
  checkFailed: 1,
  badInput: 2,
  backendUnavailable: 3,
  stopped: 4,
  unexpected: 70,
  interrupted: 130,
} as const
export type ExitCode = (typeof ExitCode)[keyof typeof ExitCode]

/** Printed under every help text. */
export const EXIT_CODE_HELP = `
Exit codes:
  0    done, all checks passed
  1    a check failed (verify, selftest, bench)
  2    bad usage, or an input that cannot be read or understood
  3    the backend is not available on this machine, was lost or ran out of memory
  4    training could not go on (full disk, damaged data, diverged); its checkpoints are whole
  70   unexpected error: please report it
  130  interrupted; where something was training, its checkpoint is written`
