import { Command } from 'commander'
import { declareBench } from './command-line/bench-command.js'
import { declareCalibrate } from './command-line/calibrate-command.js'
import { declareChecks } from './command-line/check-commands.js'
import { CommandSet } from './command-line/command-set.js'
import { declareDemo } from './command-line/demo-command.js'
import { declareEval } from './command-line/eval-command.js'
import { declareExport } from './command-line/export-command.js'
import { declareGenerate } from './command-line/generate-command.js'
import { declareInspect } from './command-line/inspect-command.js'
import { declarePlayground } from './command-line/playground-command.js'
import { declareReport } from './command-line/report-command.js'
import { declareServe } from './command-line/serve-command.js'
import { declareTokenize } from './command-line/tokenize-command.js'
import { declareTrain } from './command-line/train-command.js'
import { describeError } from './describe-error.js'
import { EXIT_CODE_HELP, type ExitCode } from './exit-code.js'
import { packageVersion } from './package-version.js'

/**
 * Runs the command line. Commands are imported when they are asked for, so that `--help` needs none of their packages.
 * @param args without node and the script
 * @returns the exit code
 */
export async function runProgram(args: readonly string[]): Promise<ExitCode> {
  const { program, commands } = buildProgram()
  try {
    await program.parseAsync(args, { from: 'user' })
    return commands.exitCode
  } catch (error) {
    const report = describeError(error, args.includes('--verbose') || Boolean(process.env.DEBUG))
    if (report.text !== undefined) process.stderr.write(`${report.text}\n`)
    return report.exitCode
  }
}

/** The program with all its commands. */
export function buildProgram(): { readonly program: Command; readonly commands: CommandSet } {
  const program = new Command('phsa')
    .description('Punctuation-aware Hybrid Sparse Attention: train, generate, measure, verify and look inside.')
    .version(packageVersion(), '-V, --version')
    .addHelpText('after', `\nphsa COMMAND --help has the options, defaults and examples of a command.\n${EXIT_CODE_HELP}`)
    .showHelpAfterError('(phsa --help lists commands and options)')
    .showSuggestionAfterError()
    .exitOverride()
  const commands = new CommandSet(program)
  program.commandsGroup('First steps:')
  declareDemo(commands)
  declarePlayground(commands)
  program.commandsGroup('Models:')
  declareTokenize(commands)
  declareTrain(commands)
  declareReport(commands)
  declareExport(commands)
  declareGenerate(commands)
  declareServe(commands)
  declareEval(commands)
  declareCalibrate(commands)
  declareInspect(commands)
  program.commandsGroup('Backends:')
  declareBench(commands)
  declareChecks(commands)
  program.commandsGroup('Help:').helpCommand(true)
  return { program, commands }
}
