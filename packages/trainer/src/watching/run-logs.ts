import type { StepEvent } from '../step-event.js'
import { StepLog } from '../step-log.js'
import type { TrainerOptions, TrainerPlan } from '../trainer-options.js'
import { describeRun } from './describe-run.js'
import { TensorboardLog } from './tensorboard-log.js'

/** All that a run writes down of its steps: the JSONL log and TensorBoard's event files, each where it is asked for. */
export class RunLogs {
  readonly #logs: readonly (StepLog | TensorboardLog)[]

  private constructor(logs: readonly (StepLog | TensorboardLog)[]) {
    this.#logs = logs
  }

  /**
   * @param resumedAt step of the checkpoint that the run continues from, 0 for none; undefined for a new run
   * @param mostSteps last step that earlier logs may have
   * @throws InvalidConfigError for a place that cannot be written or holds another run
   */
  static async open(options: TrainerOptions, plan: TrainerPlan, resumedAt?: number, mostSteps?: number): Promise<RunLogs> {
    const { log, tensorboard, model } = options
    const logs: (StepLog | TensorboardLog)[] = []
    if (log !== undefined) logs.push(await StepLog.open(log, resumedAt, mostSteps))
    if (tensorboard !== undefined) {
      logs.push(await TensorboardLog.open(tensorboard, { resumedAt, mostSteps, description: describeRun(model, plan) }))
    }
    return new RunLogs(logs)
  }

  async append(event: StepEvent): Promise<void> {
    for (const log of this.#logs) await log.append(event)
  }

  /** Flushes to the disk: before a checkpoint, so that no power cut leaves a checkpoint whose steps a log lacks. */
  async sync(): Promise<void> {
    for (const log of this.#logs) await log.sync()
  }
}
