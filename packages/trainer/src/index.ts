export { type FoundCheckpoint, findCheckpoint, listCheckpoints } from './checkpoint-folder.js'
export {
  evaluateRetrieval,
  type RetrievalOptions,
  type RetrievalProgress,
  type RetrievalRow,
} from './evaluate-retrieval.js'
export {
  type EvaluationOptions,
  type EvaluationProgress,
  type EvaluationRow,
  evaluateSelections,
} from './evaluate-selections.js'
export { type HeldOutOptions, heldOutBatches } from './held-out-batches.js'
export { type LearningRateOptions, learningRateAt } from './learning-rate.js'
export type { NeedleTask, NeedleTrial } from './needle-task.js'
export { PackedRows, type TokenizedDocuments } from './packed-rows.js'
export type { RetrievalPromptOptions } from './retrieval-prompts.js'
export type { StepEvent } from './step-event.js'
export {
  type DocumentTokenizer,
  splitDocuments,
  TextDataset,
  type TokenizeOptions,
  type TokenizeProgress,
} from './text-dataset.js'
export { type NeedleTokenizer, textNeedle } from './text-needle.js'
export { createTrainer, type Trainer } from './trainer.js'
export type {
  BatchOptions,
  CheckpointOptions,
  DistillationOptions,
  OptimizerOptions,
  ResumeOptions,
  RunLength,
  TrainerOptions,
} from './trainer-options.js'
export { targetWeight, trainingBatch } from './training-batch.js'
export type { PackedRow, RowOptions, RowSource, TrainingData } from './training-data.js'
export { TrainingDivergedError } from './training-diverged-error.js'
export type { RunPosition, TrainingRecord } from './training-record.js'
export type { ValidationOptions, ValidationResult } from './validation.js'
