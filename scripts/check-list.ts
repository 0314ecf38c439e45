/** Checks that are all made before one of them fails the program. */
export class CheckList {
  private readonly failures: string[] = []

  /** Prints a line; `detail` only where the check failed. */
  check(what: string, passed: boolean, detail?: string): void {
    console.log(`${passed ? 'ok  ' : 'FAIL'} ${what}`)
    if (passed) return
    if (detail) console.error(detail)
    this.failures.push(what)
  }

  /** Prints what came of it all and sets the exit status. */
  finish(whatHolds: string): void {
    console.log(this.failures.length === 0 ? whatHolds : `${this.failures.length} checks failed:\n${this.failures.join('\n')}`)
    process.exitCode = this.failures.length === 0 ? 0 : 1
  }
}
