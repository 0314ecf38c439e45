import { POLICY_NAMES } from '@phsa/core'
import { type Command, Option } from 'commander'
import { isSettingFlag, type TrainFlags } from '../training-config/flag-settings.js'
import { backendOption, type CommandSet, dtypeOption, jsonOption } from './command-set.js'
import { integerBetween, numberBetween } from './parse-value.js'

/** Declares `phsa train`. */
export function declareTrain(commands: CommandSet): void {
  commands
    .add('train', {
      summary: 'train a decoder as a configuration file says, or on text files',
      description:
        'Trains from scratch or from a model folder and leaves a Hugging Face folder. A YAML file holds all settings of a run; options come before what it says, and with text files instead of it they are all there is. Everything is checked before the first step. A schedule says when attention is dense and when sparse; sparse stages teach keys to be found by block distillation. Checkpoints are written whole or not at all: after Ctrl-C or a crash the same command with --resume goes on where the newest one ends, to the same result.',
      examples: [
        'phsa train run.yaml',
        'phsa train run.yaml --check',
        'phsa train run.yaml --out runs/seed-1 --seed 1 --resume-or-start',
        'phsa train run.yaml --gpus 8 --dtype bf16',
        'phsa train book.txt --steps 500 --out my-model',
        'phsa train book.txt --steps 500 --out my-model --resume',
        'phsa train a.txt b.txt.gz --validation held-out.txt --validation-every 50 --json > steps.jsonl',
        'phsa train book.txt --model my-model --out sparser --schedule 8-2:1 --learning-rate 0.0003 --decay wsd --decay-share 0.1',
        'phsa train book.txt --sequences 2 --accumulate 8 --sequence-tokens 1024 --warmup-steps 20',
      ],
    })
    .argument(
      '<files...>',
      'a configuration, .yaml or .json, or data: text with two blank lines between documents, .jsonl, .parquet, dataset folders',
    )
    .optionsGroup('Run:')
    .option('--steps <n>', 'training steps of the whole run, those before a resume included', integerBetween(1), 200)
    .option('--sequence-tokens <n>', 'tokens a sequence', integerBetween(16), 512)
    .option('--sequences <n>', 'sequences worked on at once', integerBetween(1), 2)
    .option('--accumulate <n>', 'times that --sequences are worked on in one step: larger steps in the same memory', integerBetween(1), 1)
    .option('--seed <n>', 'decides the weights and the order of the data', integerBetween(0, 2 ** 31 - 1), 0)
    .addOption(backendOption())
    .addOption(dtypeOption())
    .option(
      '--gpus <n>',
      'processes on this machine that train together, a GPU each (default: 1, or what a launcher has started)',
      integerBetween(1),
    )
    .optionsGroup('Learning rate:')
    .option('--learning-rate <x>', 'highest learning rate', numberBetween(1e-9, 1), 0.001)
    .option('--warmup-steps <n>', 'steps in which it rises to the highest (default: a hundredth of the steps)', integerBetween(0))
    .addOption(new Option('--decay <kind>', 'how it falls afterwards').choices(['cosine', 'linear', 'wsd', 'none']).default('cosine'))
    .option('--decay-share <x>', 'wsd only: last share of the steps, in which it falls (default: 0.2)', numberBetween(1e-9, 1))
    .option('--final-share <x>', 'rate of the last step over the highest (default: 0.1)', numberBetween(0, 1))
    .optionsGroup('Sparsity:')
    .option(
      '--schedule <stages>',
      'KIND:SHARE with commas between, KIND being dense, a topK such as 2 or a falling one such as 8-2; topK stages distil unless they end in !',
      'dense:0.8,2:0.2',
    )
    .addOption(new Option('--policy <name>', 'how blocks are selected').choices(POLICY_NAMES).default('phsa'))
    .option('--block-size <n>', 'tokens a key block (default: as the model has it; new ones 16)', integerBetween(1))
    .option('--init-tokens <n>', 'first tokens, always visible (default: as the model has it; new ones 16)', integerBetween(0))
    .option('--local-tokens <n>', 'local window in tokens, always visible (default: as the model has it; new ones 128)', integerBetween(1))
    .option('--lambda <x>', 'weight of the global branch; 1 is mean-pool (default: as the model has it; new ones 0.5)', numberBetween(0, 1))
    .optionsGroup('Model:')
    .option('--model <dir>', 'continue from this model folder, with its tokenizer and shape')
    .option('--tokenizer <path>', 'tokenizer.json or its folder, for a new model (default: the bundled one of 8,192 tokens)')
    .addOption(newModelOption('--hidden-size <n>', 'width of a new model', integerBetween(8), 128))
    .addOption(newModelOption('--layers <n>', 'layers of a new model', integerBetween(1), 4))
    .addOption(newModelOption('--heads <n>', 'query heads of a new model', integerBetween(1), 4))
    .addOption(newModelOption('--kv-heads <n>', 'key/value heads of a new model', integerBetween(1), 2))
    .addOption(newModelOption('--head-dim <n>', 'head dimension of a new model', integerBetween(2), 32))
    .optionsGroup('Validation:')
    .option('--validation <file>', 'text that is not trained on; its loss and perplexity are measured now and then')
    .option('--validation-every <n>', 'steps between two measurements; the last step is one too (default: 100)', integerBetween(1))
    .option(
      '--validation-windows <n>',
      'windows of --sequence-tokens that are measured, fewer for a short text (default: 8)',
      integerBetween(1),
    )
    .optionsGroup('Output:')
    .option('--out <dir>', 'folder for the model, its checkpoints, log.jsonl and report.html', 'phsa-model')
    .option('--checkpoint-every <n>', 'steps between checkpoints', integerBetween(1), 500)
    .option('--tensorboard', 'write event files for TensorBoard to tensorboard/ in --out')
    .option(
      '--peak-tflops <x>',
      'peak of one device in TFLOP/s, for MFU (default: that of the GPU where it is known)',
      numberBetween(1e-6, 1e9),
    )
    .option('--resume', 'continue the newest checkpoint in --out')
    .addOption(
      new Option(
        '--resume-or-start',
        'continue the newest checkpoint in --out; where there is none, start with a new log: for a command that is run again until it is done',
      ).conflicts('resume'),
    )
    .option('--or-older', 'where the newest checkpoint is damaged, continue the newest whole one, and say so')
    .option('--check', 'check everything, print the whole configuration, the number of parameters, steps, tokens and the memory, and stop')
    .addOption(jsonOption('print one line of JSON a step and one at the end instead of text; progress stays on stderr'))
    .action(
      commands.finish(async (files, options, command) =>
        (await import('../commands/train.js')).runTrain(files, typedFlags(command), options),
      ),
    )
}

/** Settings that were typed: the defaults above are there to be read, and a configuration has its own. */
function typedFlags(command: Command): TrainFlags {
  const typed = Object.entries(command.opts()).filter(([name]) => isSettingFlag(name) && command.getOptionValueSource(name) === 'cli')
  return Object.fromEntries(typed)
}

/** An option of a model made from scratch: a model folder brings its own shape. */
function newModelOption(flags: string, description: string, parse: (text: string) => number, byDefault: number): Option {
  return new Option(flags, description).argParser(parse).default(byDefault).conflicts('model')
}
