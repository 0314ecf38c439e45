import { UsageError } from '../usage-error.js'

/** Where a setting stands: names, and indices of lists. */
export type SettingPath = readonly (string | number)[]

/** What is wrong with one setting. */
export interface ConfigProblem {
  readonly path: SettingPath
  /** A sentence that names the setting. */
  readonly message: string
}

/** ['data', 'files', 0] -> "data.files[0]"; the whole is "the configuration". */
export function settingName(path: SettingPath): string {
  if (path.length === 0) return 'the configuration'
  return path.map((part, index) => (typeof part === 'number' ? `[${part}]` : index === 0 ? part : `.${part}`)).join('')
}

/** Everything that is wrong with a configuration; exit code 2. */
export class ConfigError extends UsageError {
  readonly problems: readonly ConfigProblem[]

  /** @param where what to show before a problem: file, line and column, or the option that was typed */
  constructor(problems: readonly ConfigProblem[], where: (path: SettingPath) => string | undefined) {
    const lines = problems.map(({ path, message }) => [where(path), message].filter((part) => part !== undefined).join(': '))
    super(lines.length === 1 ? lines[0] : `${lines.length} problems, nothing was started:\n${lines.map((line) => `  ${line}`).join('\n')}`)
    this.problems = problems
  }
}
