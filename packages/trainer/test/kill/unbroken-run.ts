import assert from 'node:assert/strict'
import { readdir, readFile } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { checkpointName, type FoundCheckpoint, listCheckpoints } from '../../src/checkpoint/checkpoint-folder.js'
import { findCheckpoint } from '../../src/checkpoint/find-checkpoint.js'
import { inspectCheckpoint } from '../../src/checkpoint/manifest.js'
import { startTraining } from './training-process.js'

/** The run that nobody disturbs; it keeps every checkpoint, so that any other can be compared with it at any step. */
export class UnbrokenRun {
  readonly folder: string
  readonly steps: number
  /** Step of the best checkpoint after each step. */
  readonly #best: readonly number[]

  private constructor(folder: string, steps: number, best: readonly number[]) {
    this.folder = folder
    this.steps = steps
    this.#best = best
  }

  static async train(script: string, folder: string, steps: number): Promise<UnbrokenRun> {
    const end = await startTraining({ script, folder, steps, keep: steps }).end
    assert.deepEqual([end.code, end.errors], [0, ''])
    const best = [0]
    let lowest = { loss: Number.POSITIVE_INFINITY, topK: undefined }
    for (let step = 1; step <= steps; step++) {
      const { validation } = JSON.parse(await readFile(join(folder, checkpointName(step), 'trainer.json'), 'utf8'))
      const isBetter = validation.topK !== lowest.topK || validation.loss < lowest.loss
      if (isBetter) lowest = validation
      best.push(isBetter ? step : best[step - 1])
    }
    const isOlder = best.filter((chosen, step) => chosen < step).length
    assert.ok(isOlder > 0, 'the best checkpoint is always the newest: this run would not show that it is kept')
    return new UnbrokenRun(folder, steps, best)
  }

  /**
   * Every checkpoint that has its name is whole and this run's of that step, to the byte; no more are there than may be, and the best one is.
   * @returns step of the newest, 0 for none
   */
  async requireSame(run: string, keep: number): Promise<number> {
    const found = await listCheckpoints(run)
    for (const checkpoint of found) await this.#requireSameFiles(checkpoint)
    const newest = found.at(-1)?.step ?? 0
    // The newest ones, the best, and where a kill came between a write and the removals one of each more.
    assert.ok(found.length <= keep + 3, `${found.length} checkpoints are kept`)
    if (newest > 0) assert.equal(basename(await findCheckpoint(run, 'best')), checkpointName(this.#best[newest]))
    return newest
  }

  /** The log of the other run is this one's, line by line. */
  async requireSameLog(run: string): Promise<void> {
    assert.deepEqual(await logged(run), await logged(this.folder))
  }

  async #requireSameFiles({ path }: FoundCheckpoint): Promise<void> {
    const { damage } = await inspectCheckpoint(path)
    assert.equal(damage, undefined)
    const original = join(this.folder, basename(path))
    const names = (await readdir(path)).sort()
    assert.deepEqual(names, (await readdir(original)).sort())
    for (const name of names) {
      const [expected, actual] = await Promise.all([original, path].map((place) => readFile(join(place, name))))
      assert.ok(actual.equals(expected), join(basename(path), name))
    }
  }
}

async function logged(run: string): Promise<unknown[]> {
  const lines = (await readFile(`${run}.jsonl`, 'utf8')).trimEnd().split('\n')
  return lines.map((line) => {
    const { tokensPerSecond: _, ...event } = JSON.parse(line)
    return event
  })
}
