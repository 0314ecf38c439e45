import { join } from 'node:path'
import type { StepEvent } from '@phsa/trainer'
import { RUN_LOG, RUN_REPORT } from './run-files.js'

/** The page of a run that goes on: drawn at each checkpoint and at the end. */
export class RunReportWriter {
  readonly #out: string

  /** @param out folder of the run */
  constructor(out: string) {
    this.#out = out
  }

  async afterStep({ checkpoint }: StepEvent): Promise<void> {
    if (checkpoint !== undefined) await this.write()
  }

  /** A page that cannot be written is no reason to end a run: it is said, and the run goes on. */
  async write(): Promise<void> {
    const target = join(this.#out, RUN_REPORT)
    try {
      // Imported when it is needed: drawing takes longer to load than a short run to start.
      const { writeRunReport } = await import('../report/run/write-run-report.js')
      await writeRunReport(join(this.#out, RUN_LOG), target)
    } catch (error) {
      process.stderr.write(`${target} could not be written (${(error as Error).message}); phsa report draws it later.\n`)
    }
  }
}
