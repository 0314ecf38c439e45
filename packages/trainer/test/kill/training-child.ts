import { argv, stdout } from 'node:process'
import { reference, SparsitySchedule } from '@phsa/core'
import { createTrainer } from '../../src/create-trainer.js'
import { heldOutBatches } from '../../src/evaluation/held-out-batches.js'
import { letterData, letterPunctuation, tinyConfig, tinyModel } from '../tiny-model.js'

// A run in a process of its own, to be killed: `training-child FOLDER STEPS KEEP STOP_AFTER`. The same call starts it and goes on with it; it
// says which steps it has done. It has all that a run can have at once.
const [folder, steps, keep, stopAfter] = argv.slice(2)

const heldOut = await letterData('the kettle is off, the kettle is cold. nobody sings, and nothing is hot. the kettle is on.')
const trainer = createTrainer({
  // Wide enough that writing a checkpoint takes a good part of a step's time.
  model: await tinyModel({ backend: await reference(), config: { ...tinyConfig, intermediateSize: 512 } }),
  data: await letterData('the kettle is on, the kettle sings. the kettle is off, and nobody sings.'),
  punctuation: letterPunctuation,
  batch: { sequences: 1, tokens: 24, accumulate: 2 },
  steps: Number(steps),
  schedule: new SparsitySchedule([
    { kind: 'dense', share: 0.5 },
    { kind: 'sparse', share: 0.5, topK: 2, distillation: true },
  ]),
  distillation: { rowsPerSequence: 4, lambda: 'learned' },
  // So fast that the loss of the held-out text also rises: the best checkpoint is then an older one.
  optimizer: { learningRate: 0.1, decay: 'wsd', warmupSteps: 0 },
  ema: { decay: 0.5 },
  validation: { batches: heldOutBatches(heldOut, { windows: 1, tokens: 44, punctuation: letterPunctuation }), every: 1 },
  checkpoint: { folder, every: 1, keep: Number(keep), maxShardBytes: 40_000 },
  resume: { from: folder, orStart: true },
  log: `${folder}.jsonl`,
})
stdout.write('ready\n')
for await (const { step } of trainer) {
  stdout.write(`${step}\n`)
  if (step === Number(stopAfter)) break
}
