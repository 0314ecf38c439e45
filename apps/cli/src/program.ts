import { readFileSync } from 'node:fs'
import { Command, InvalidArgumentError, Option } from 'commander'
import { backends } from './backends.js'
import { describeError } from './describe-error.js'
import { EXIT_CODE_HELP, ExitCode } from './exit-code.js'
import { integerBetween, numberBetween } from './numeric-options.js'

/** Where a command leaves its exit code: actions of commander return nothing. */
interface Outcome {
  exitCode: ExitCode
}

/**
 * Runs the command line. Commands are imported when they are asked for, so that `--help` needs none of their packages.
 * @param args without node and the script
 * @returns the exit code
 */
export async function runProgram(args: readonly string[]): Promise<ExitCode> {
  const outcome: Outcome = { exitCode: ExitCode.ok }
  const program = buildProgram(outcome)
  try {
    await program.parseAsync(args, { from: 'user' })
    return outcome.exitCode
  } catch (error) {
    const report = describeError(error, args.includes('--verbose') || Boolean(process.env.DEBUG))
    if (report.text !== undefined) process.stderr.write(`${report.text}\n`)
    return report.exitCode
  }
}

function buildProgram(outcome: Outcome): Command {
  const program = new Command('phsa')
    .description('Punctuation-aware Hybrid Sparse Attention: train, generate, verify and look inside.')
    .version(packageVersion(), '-V, --version')
    .addHelpText('after', EXIT_CODE_HELP)
    .showHelpAfterError('(phsa --help lists commands and options)')
    .showSuggestionAfterError()
    .exitOverride()
  /** Options that every command has. */
  const command = (nameAndArguments: string, description: string) => {
    const added = program.command(nameAndArguments).description(description).addHelpText('after', EXIT_CODE_HELP)
    return added.option('--verbose', 'print stacks of errors')
  }
  const finish = <Args extends unknown[]>(run: (...args: Args) => Promise<ExitCode>) => {
    return async (...args: Args) => {
      outcome.exitCode = await run(...args)
    }
  }

  command('demo', 'the whole way on bundled text in under three minutes: train, compare policies, generate, report')
    .option('--steps <n>', 'training steps; makes the run repeatable (default: as many as fit --seconds)', integerBetween(2))
    .option('--seconds <n>', 'time for training, where --steps is not given', numberBetween(5, 86400), 100)
    .option('--out <dir>', 'folder for checkpoint, report.html, results.json and log.jsonl', 'phsa-demo')
    .option('--seed <n>', 'weights and order of the data', integerBetween(0, 2 ** 31 - 1), 0)
    .addOption(backendOption())
    .action(finish(async (options) => (await import('./commands/demo.js')).runDemo(options)))

  command('train', 'train a decoder on text files, from scratch or from a model folder')
    .argument('<files...>', 'text files, .txt or .txt.gz; two blank lines between documents')
    .option('--out <dir>', 'folder for the model, its checkpoints and log.jsonl', 'phsa-model')
    .option('--model <dir>', 'continue from this model folder (its tokenizer is used)')
    .option('--tokenizer <path>', 'tokenizer.json or its folder (default: the bundled one of 8,192 tokens)')
    .option('--steps <n>', 'training steps', integerBetween(1), 200)
    .option('--sequence-tokens <n>', 'tokens a sequence', integerBetween(16), 512)
    .option('--sequences <n>', 'sequences a step', integerBetween(1), 2)
    .option('--learning-rate <x>', 'highest learning rate', numberBetween(1e-9, 1), 0.001)
    .option(
      '--schedule <stages>',
      'share of the steps and what holds in it, such as dense:0.8,2:0.2 or 8-2:1; topK stages distil unless they end in !',
      'dense:0.8,2:0.2',
    )
    .option('--policy <name>', 'how blocks are selected: phsa, mean-pool, infllm-v2, punctuation-only, random, oracle, dense', 'phsa')
    .addOption(newModelOption('--hidden-size <n>', 'E of a new model', integerBetween(8), 128))
    .addOption(newModelOption('--layers <n>', 'layers of a new model', integerBetween(1), 4))
    .addOption(newModelOption('--heads <n>', 'query heads of a new model', integerBetween(1), 4))
    .addOption(newModelOption('--kv-heads <n>', 'key/value heads of a new model', integerBetween(1), 2))
    .addOption(newModelOption('--head-dim <n>', 'head dimension of a new model', integerBetween(2), 32))
    .option('--block-size <n>', 'tokens a key block', integerBetween(1))
    .option('--init-tokens <n>', 'first tokens, always visible', integerBetween(0))
    .option('--local-tokens <n>', 'local window, always visible', integerBetween(1))
    .option('--lambda <x>', 'weight of the global branch; 1 is mean-pool', numberBetween(0, 1))
    .option('--checkpoint-every <n>', 'steps between checkpoints', integerBetween(1), 500)
    .option('--resume', 'continue the newest checkpoint in --out')
    .option('--seed <n>', 'weights and order of the data', integerBetween(0, 2 ** 31 - 1), 0)
    .addOption(backendOption())
    .action(finish(async (files, options) => (await import('./commands/train.js')).runTrain(files, options)))

  command('generate', 'continue a prompt, token by token')
    .requiredOption('--model <dir>', 'model folder')
    .requiredOption('--prompt <text>', 'text to continue', nonEmpty)
    .addOption(
      new Option('--top-k <n>', 'blocks selected a query (default: as the model was saved)')
        .argParser(integerBetween(0, 64))
        .conflicts('dense'),
    )
    .option('--dense', 'attend to everything')
    .option('--policy <name>', 'how blocks are selected', 'phsa')
    .option('--max-new-tokens <n>', 'tokens to write at most', integerBetween(1), 64)
    .option(
      '--temperature <x>',
      'above 0 draws tokens at random; 0 takes the likeliest (default: 0, or 1 with another option of sampling)',
      numberBetween(0, 100),
    )
    .option('--sample-top-k <n>', 'sampling: draw from the n likeliest tokens; 0 for all', integerBetween(0))
    .option('--top-p <x>', 'sampling: draw from the likeliest tokens that hold this share of the probability', numberBetween(1e-6, 1))
    .option('--min-p <x>', 'sampling: draw from tokens of at least this share of the likeliest one’s probability', numberBetween(0, 1))
    .option('--seed <n>', 'sampling: the same number writes the same text (default: 0)', integerBetween(0, 2 ** 31 - 1))
    .option('--stop <text>', 'end before this text; may be given several times', oneMore)
    .addOption(backendOption())
    .action(finish(async (options) => (await import('./commands/generate.js')).runGenerate(options)))

  command('inspect', 'show how a text falls into blocks and what a query selects from it')
    .argument('<file>', 'text file')
    .option('--tokenizer <path>', 'tokenizer.json or its folder (default: the bundled one, or the model’s)')
    .option('--model <dir>', 'use the queries and keys of this model; without one nothing can be selected, only forced')
    .option('--query <n>', 'position of the query (default: the last token)', integerBetween(0))
    .option('--layer <n>', 'layer to look at (default: the middle one)', integerBetween(0))
    .option('--kv-head <n>', 'KV head to look at', integerBetween(0), 0)
    .option('--top-k <n>', 'blocks selected a query', integerBetween(0, 64))
    .option('--max-tokens <n>', 'look at no more than the first n tokens', integerBetween(1), 1024)
    .option('--out <file>', 'write a picture: .html or .svg')
    .addOption(backendOption())
    .action(finish(async (file, options) => (await import('./commands/inspect.js')).runInspect(file, options)))

  command('verify', 'check attention files or a model folder against a backend')
    .argument('<path>', 'attention fixture (.safetensors), a folder of them, or model folder with reference.safetensors')
    .addOption(backendOption())
    .option('--json', 'print JSON')
    .action(finish(async (path, options) => (await import('./commands/verify.js')).runVerify(path, options)))

  command('selftest', 'run the conformance suite on a backend')
    .addOption(backendOption())
    .option('--filter <glob>', 'only cases whose name matches, such as "attend/*"')
    .option('--json', 'print JSON')
    .action(finish(async (options) => (await import('./commands/selftest.js')).runSelftest(options)))

  command('doctor', 'which backends work on this machine, and why the others do not')
    .option('--json', 'print JSON')
    .action(finish(async (options) => (await import('./commands/doctor.js')).runDoctor(options)))

  return program
}

function backendOption(): Option {
  const names = backends.map((backend) => backend.name)
  return new Option('--backend <name>', 'what computes (default: the first that works here)').choices(names)
}

function nonEmpty(text: string): string {
  if (text === '') throw new InvalidArgumentError('It must not be empty.')
  return text
}

/** Collects the texts of an option that may be given several times. */
function oneMore(text: string, before: readonly string[] = []): readonly string[] {
  return [...before, nonEmpty(text)]
}

function packageVersion(): string {
  const { version } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')) as { version: string }
  return version
}

/** An option of a model made from scratch: a model folder brings its own shape. */
function newModelOption(flags: string, description: string, parse: (text: string) => number, byDefault: number): Option {
  return new Option(flags, description).argParser(parse).default(byDefault).conflicts('model')
}
