import { type Command, Option } from 'commander'
import { backends } from '../backends.js'
import { EXIT_CODE_HELP, ExitCode } from '../exit-code.js'
import { listOf } from './parse-value.js'

/** What `--help` says of a command besides its options. */
export interface CommandTexts {
  /** One line, for the list of commands. */
  readonly summary: string
  /** One paragraph. */
  readonly description: string
  /** Whole command lines, which a test parses. */
  readonly examples: readonly string[]
}

/** The program while its commands are declared; remembers what their actions return, which commander does not. */
export class CommandSet {
  exitCode: ExitCode = ExitCode.ok
  /** Every command line that a help text shows. */
  readonly examples: string[] = []
  readonly #program: Command

  constructor(program: Command) {
    this.#program = program
  }

  /** A command with what all of them have. @param usage name and arguments */
  add(usage: string, { summary, description, examples }: CommandTexts): Command {
    this.examples.push(...examples)
    const lines = examples.map((example) => `  ${example}`).join('\n')
    const command = this.#program
      .command(usage)
      .summary(summary)
      .description(description)
      .addHelpText('after', `\nExamples:\n${lines}\n${EXIT_CODE_HELP}`)
      .option('--verbose', 'print stacks of errors')
    return command.showHelpAfterError(`(phsa ${command.name()} --help lists arguments and options)`)
  }

  /** An action that leaves its exit code. */
  finish<Args extends unknown[]>(run: (...args: Args) => Promise<ExitCode>): (...args: Args) => Promise<void> {
    return async (...args) => {
      this.exitCode = await run(...args)
    }
  }
}

/** `--backend`, the same for all commands that compute. */
export function backendOption(): Option {
  return new Option(
    '--backend <name>',
    'what computes (default: an NVIDIA GPU where there is one, else another GPU, else the best TensorFlow.js engine here)',
  ).choices(backends.map((backend) => backend.name))
}

/** `--dtype`, for all commands that load or make a model. */
export function dtypeOption(): Option {
  return new Option(
    '--dtype <type>',
    'element type of the model; tfjs has f32 alone, cuda bf16 besides, webgpu f16 on most GPUs (default: f32)',
  ).choices(['f32', 'bf16', 'f16'])
}

/** `--json`: stdout carries nothing but JSON. @param form what is printed */
export function jsonOption(form = 'print JSON instead of text; progress stays on stderr'): Option {
  return new Option('--json', form)
}

/** An option of several values with commas between, whose default the help shows as it is typed. @param shown another word for the default */
export function listOption<T extends string | number>(
  flags: string,
  description: string,
  parse: (text: string) => T,
  byDefault: readonly T[],
  shown = byDefault.join(),
): Option {
  return new Option(flags, description).argParser(listOf(parse)).default(byDefault, shown)
}
