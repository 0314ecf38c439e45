import { Option } from 'commander'
import { type CommandSet, jsonOption } from './command-set.js'
import { nonEmpty, numberBetween } from './parse-value.js'

/** Declares `phsa export`. */
export function declareExport(commands: CommandSet): void {
  commands
    .add('export', {
      summary: 'write a checkpoint as a model folder of the form that transformers writes',
      description:
        'Writes the weights of a checkpoint as a Hugging Face folder, with configuration, generation settings and tokenizer, and nothing of the run. Every file of the checkpoint is hashed first: a damaged one is named and nothing is written. No GPU is needed.',
      examples: [
        'phsa export my-run --out model',
        'phsa export my-run --best --weights ema --dtype bf16 --out model',
        'phsa export my-run/checkpoints/step-00000500 --out model --json',
      ],
    })
    .argument('<checkpoint>', 'a checkpoint, a folder of several, or the --out folder of phsa train')
    .requiredOption('--out <dir>', 'folder for the model', nonEmpty)
    .option('--best', 'of several, the one with the lowest validation loss instead of the newest')
    .addOption(
      new Option('--weights <which>', 'those that were trained, or their moving average').choices(['current', 'ema']).default('current'),
    )
    .addOption(new Option('--dtype <type>', "element type in the files (default: the run's)").choices(['f32', 'bf16', 'f16']))
    .option('--tokenizer <dir>', 'folder whose tokenizer files are copied where the checkpoint has none', nonEmpty)
    .option('--shard-gigabytes <x>', 'most gigabytes of tensors in one file', numberBetween(1e-6, 1e6), 5)
    .addOption(jsonOption('print what was written as JSON'))
    .action(commands.finish(async (path, options) => (await import('../commands/export.js')).runExport(path, options)))
}
