/** The reason against a package that is not there. */
export const NOT_INSTALLED = 'not installed'

const LONGEST_LINE = 200

/** A failure whose message would not tell a user what to do. */
interface KnownFailure {
  readonly message: RegExp
  readonly reason: (packageName: string) => string
}

const KNOWN_FAILURES: readonly KnownFailure[] = [
  {
    // tfjs-node: npm did not run its install script, or that could not download what it needs.
    message: /native addon module .* can not be found/,
    reason: (packageName) => `installed without its native part: let npm run its install script, with npm rebuild ${packageName}`,
  },
  {
    // tfjs-node 4.22 calls functions of node:util that Node 23 has no more.
    message: /is(NullOrUndefined|Array)\) is not a function/,
    reason: () => `does not start on Node ${process.versions.node}: it needs util.isNullOrUndefined, which Node 23 removed`,
  },
]

/** Why an engine did not start or compute, in one line. */
export function startFailure(packageName: string, error: unknown): string {
  return known(packageName, error) ?? `does not start: ${firstLine(error)}`
}

/** Why a package that may be missing could not be imported, in one line: not installed, or installed and broken. */
export function importFailure(packageName: string, error: unknown): string {
  if (isMissing(packageName, error)) return NOT_INSTALLED
  return known(packageName, error) ?? `installed, but does not load: ${firstLine(error)}`
}

function known(packageName: string, error: unknown): string | undefined {
  return KNOWN_FAILURES.find(({ message }) => message.test(textOf(error)))?.reason(packageName)
}

function textOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}

function firstLine(error: unknown): string {
  const [line] = textOf(error).trim().split('\n')
  return line.length > LONGEST_LINE ? `${line.slice(0, LONGEST_LINE)}...` : line
}

/** Whether the package itself is missing, and not something that it needs: as Node says it, and as Vite does. */
function isMissing(packageName: string, error: unknown): boolean {
  const text = textOf(error)
  return [`Cannot find package '${packageName}'`, `Could not resolve "${packageName}"`, `Could not resolve "${packageName}/`].some(
    (start) => text.startsWith(start),
  )
}
