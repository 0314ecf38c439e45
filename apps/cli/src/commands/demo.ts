import { createServer } from '@phsa/server'
import { withBackend } from '../backends.js'
import { bundledModel, bundledPlayground } from '../demo/bundled-assets.js'
import type { DemoResults, DemoRow } from '../demo/demo-results.js'
import { demoText } from '../demo/demo-text.js'
import { heldOutNovel, NOVEL_TITLE } from '../demo/held-out-novel.js'
import { DEMO_SAMPLING, readOn } from '../demo/read-on.js'
import { ExitCode } from '../exit-code.js'
import { prepareFile } from '../files/prepare-folder.js'
import { writeWholeFile } from '../files/write-whole-file.js'
import { type Interruption, interruptible } from '../interruption.js'
import { loadTextModel, type TextModel } from '../load-text-model.js'
import { loadAverage, machine } from '../machine.js'
import { packageVersion } from '../package-version.js'
import { reportJson } from '../report-json.js'
import { serveUntilStopped } from '../serving/serve-until-stopped.js'
import { formatCount } from '../terminal/format.js'
import { startProgress } from '../terminal/progress.js'
import { UsageError } from '../usage-error.js'

export interface DemoOptions {
  /** Default: 8,192 where the model computes on the host, else 32,768. */
  readonly tokens?: number
  readonly maxNewTokens: number
  readonly seed: number
  readonly backend?: string
  /** Default: where stdout is a terminal and no JSON is asked for. */
  readonly serve?: boolean
  readonly port: number
  readonly out?: string
  readonly json?: boolean
  /** Default: the pages that come with the package. */
  readonly pages?: string
}

/** Under each of these in turn, dense first. */
const POLICIES = ['dense', 'mean-pool', 'phsa'] as const
const MODEL_NAME = 'phsa-demo'
/** Tokens of the run before the measured one: past the windows, so that all there is to compile is compiled. */
const WARM_UP_TOKENS = 256
/** Characters of the prompt's end that are shown. */
const SHOWN_PROMPT = 200
const GRACE_SECONDS = 5

/** Reads a long document with the bundled model under three kinds of attention, says what each costs and gives, and serves the model. */
export async function runDemo(options: DemoOptions): Promise<ExitCode> {
  if (options.out !== undefined) await prepareFile(options.out)
  const serves = options.serve ?? (process.stdout.isTTY === true && !options.json)
  // Before a minute of work, not after it.
  const pages = serves ? (options.pages ?? bundledPlayground()) : undefined
  return interruptible((interruption) =>
    withBackend(options.backend, async (backend) => {
      // As it is stored, where that can be computed with.
      const loaded = await loadTextModel(bundledModel(), { backend, dtype: backend.limits.dtypes.includes('bf16') ? 'bf16' : 'f32' })
      try {
        const results = await measure(loaded, options, interruption)
        if (options.out !== undefined) await writeWholeFile(options.out, reportJson(results))
        process.stdout.write(options.json ? reportJson(results) : `\n${demoText(results)}\n`)
        return pages === undefined ? ExitCode.ok : await serve(loaded, pages, options.port, interruption)
      } catch (error) {
        if (!interruption.caused(error)) throw error
        return ExitCode.interrupted
      } finally {
        loaded.model.dispose()
      }
    }),
  )
}

async function measure(
  { model, tokenizer, punctuation }: TextModel,
  { tokens, maxNewTokens: newTokens, seed }: DemoOptions,
  interruption: Interruption,
): Promise<DemoResults> {
  const { backend, config } = model
  const [before] = loadAverage()
  const document = tokenizer.encode(heldOutNovel())
  const ids = document.subarray(
    0,
    lengthOf(tokens ?? (backend.limits.blocking ? 8192 : 32768), Math.min(document.length, config.maxPositions)),
  )
  model.reservePositions(ids.length)
  process.stderr.write(`${formatCount(model.parameterCount)} parameters on ${backend.name}: ${backend.device}\n`)
  const reading = { model, tokenizer, punctuation, ids, newTokens, seed, signal: interruption.signal }
  const rows: DemoRow[] = []
  const progress = startProgress({ label: 'reading', total: POLICIES.length })
  try {
    for (const policy of POLICIES) {
      await interruption.breathe()
      await readOn(policy, { ...reading, ids: ids.subarray(0, WARM_UP_TOKENS), newTokens: 2 })
      progress.update(rows.length, policy)
      rows.push(await readOn(policy, reading))
      progress.update(rows.length, policy)
    }
  } finally {
    progress.stop()
  }
  const prompt = tokenizer.decode(ids.subarray(0, ids.length - newTokens))
  return {
    format: 'phsa-demo/1',
    createdAt: new Date().toISOString(),
    version: packageVersion(),
    machine: machine(),
    load: [before, loadAverage()[0]],
    backend: backend.name,
    device: backend.device,
    model: config,
    parameters: model.parameterCount,
    dtype: model.dtype,
    phsa: model.phsa,
    document: {
      title: NOVEL_TITLE,
      tokens: ids.length,
      newTokens,
      promptEnd: prompt.slice(-SHOWN_PROMPT).replace(/^\S*\s+/, ''),
      continuation: tokenizer.decode(ids.subarray(ids.length - newTokens)),
    },
    seed,
    rows,
  }
}

/** @throws UsageError where there are not as many tokens */
function lengthOf(tokens: number, most: number): number {
  if (tokens <= most) return tokens
  throw new UsageError(`--tokens is ${tokens}; the model and the bundled novel have ${most}. Ask for no more.`)
}

/** The playground and the API at one address, until a signal. */
async function serve({ model, punctuation }: TextModel, pages: string, port: number, interruption: Interruption): Promise<ExitCode> {
  const server = await createServer({
    model,
    punctuation,
    tokenizerFolder: bundledModel(),
    modelName: MODEL_NAME,
    port,
    api: { pages, sampling: DEMO_SAMPLING },
  })
  process.stdout.write(
    `\nThe playground is at ${server.url}/\nThe OpenAI API is at ${server.url}/v1, its model ${MODEL_NAME}: phsa serve --help says more.\nCtrl-C ends both.\n`,
  )
  return serveUntilStopped(server, interruption, GRACE_SECONDS)
}
