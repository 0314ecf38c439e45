import { backendOption, type CommandSet, dtypeOption, jsonOption } from './command-set.js'
import { nonEmpty } from './parse-value.js'

/** Declares `phsa verify`, `phsa selftest` and `phsa doctor`: whether backends compute what they must. */
export function declareChecks(commands: CommandSet): void {
  commands
    .add('verify', {
      summary: 'compare a backend with results that were computed elsewhere',
      description:
        'Compares a backend with an attention file, with all of a folder, or with a model folder that holds logits, gradients and a continuation of another implementation. The exit code is 1 when something is out of bounds.',
      examples: [
        'phsa verify small.safetensors',
        'phsa verify fixtures/attention --backend tfjs-wasm --json',
        'phsa verify fixtures/models/qwen3-tiny',
        'phsa verify fixtures/models/qwen3-tiny --backend cuda --dtype bf16',
      ],
    })
    .argument('<path>', 'attention fixture (.safetensors), a folder of them, or a model folder with reference.safetensors')
    .addOption(backendOption())
    .addOption(dtypeOption())
    .addOption(jsonOption())
    .action(commands.finish(async (path, options) => (await import('../commands/verify.js')).runVerify(path, options)))

  commands
    .add('selftest', {
      summary: 'run the conformance suite on a backend',
      description:
        'Runs the cases that every backend must pass, against the float64 reference, and says what was measured and what is allowed where one fails. The exit code is 1 when a case fails, 3 when the backend is not available.',
      examples: [
        'phsa selftest',
        'phsa selftest --backend tfjs-wasm --filter "f32/attend/*"',
        'phsa selftest --backend reference --filter "f32/pool*" --json',
      ],
    })
    .addOption(backendOption())
    .option('--filter <glob>', 'only cases whose name matches; * stands for any characters', nonEmpty)
    .addOption(jsonOption())
    .action(commands.finish(async (options) => (await import('../commands/selftest.js')).runSelftest(options)))

  commands
    .add('doctor', {
      summary: 'which backends work on this machine, and why the others do not',
      description: 'Starts every backend and says what it runs on, or why it does not work here. The exit code is 3 only where none works.',
      examples: ['phsa doctor', 'phsa doctor --json'],
    })
    .addOption(jsonOption())
    .action(commands.finish(async (options) => (await import('../commands/doctor.js')).runDoctor(options)))
}
