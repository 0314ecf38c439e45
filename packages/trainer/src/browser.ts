// What bundlers take for pages: everything that needs no files. Names and results are those of `index.ts`.
export { type CalibrationProgress, calibrate } from './calibration/calibrate.js'
export type { CalibrationOptions, ScoreSetting } from './calibration/calibration-options.js'
export type {
  Calibration,
  HeadCalibration,
  HeldOutRecall,
  PunctuationVerdict,
  SettingCalibration,
} from './calibration/calibration-result.js'
export { chooseLambda, type LambdaChoice, type LambdaSamples } from './calibration/choose-lambda.js'
export type { CheckpointOptions } from './checkpoint/checkpoint-options.js'
export { createTrainer } from './create-browser-trainer.js'
export type { DocumentTokenizer } from './data/document-tokenizer.js'
export { type MixedRows, type Mixture, type MixturePart, mixtureOf } from './data/mixture.js'
export { PackedRows } from './data/packed-rows.js'
export { splitDocuments } from './data/split-documents.js'
export { TextDataset, type TextOptions, type TokenizeOptions, type TokenizeProgress } from './data/text-dataset.js'
export type { TokenizedDocuments } from './data/tokenized-documents.js'
export { type ChoiceFault, type ChoiceFile, type ChoiceRecord, parseChoices } from './evaluation/choice-records.js'
export type { Estimate } from './evaluation/cluster-estimate.js'
export {
  type ChoiceAccuracy,
  type ChoiceOptions,
  type ChoiceProgress,
  type ChoiceResult,
  type ChoiceRow,
  evaluateChoices,
} from './evaluation/evaluate-choices.js'
export {
  evaluatePositions,
  type PositionBucket,
  type PositionOptions,
  type PositionProgress,
  type PositionRow,
} from './evaluation/evaluate-positions.js'
export {
  evaluateRetrieval,
  type RetrievalOptions,
  type RetrievalProgress,
  type RetrievalRow,
} from './evaluation/evaluate-retrieval.js'
export {
  type EvaluationOptions,
  type EvaluationProgress,
  type EvaluationRow,
  evaluateSelections,
} from './evaluation/evaluate-selections.js'
export { type HeldOutOptions, heldOutBatches } from './evaluation/held-out-batches.js'
export { type LayerSample, layerRecalls } from './evaluation/layer-recall.js'
export { type NeedleRowOptions, needleRows } from './evaluation/needle-rows.js'
export type { NeedleTask, NeedleTrial } from './evaluation/needle-task.js'
export type { PolicyVariant } from './evaluation/policy-variant.js'
export type { RetrievalPromptOptions } from './evaluation/retrieval-prompts.js'
export { type NeedleTokenizer, textNeedle } from './evaluation/text-needle.js'
export { type LearningRateOptions, learningRateAt } from './learning-rate.js'
export type { LambdaState, LambdaSummary, LearnedLambdaOptions } from './step/learned-lambda.js'
export type { LossSpike } from './step/loss-spike.js'
export type { RecallOptions, StepRecall } from './step/step-recall.js'
export type { WeightAverageOptions } from './step/weight-average.js'
export type { StepEvent } from './step-event.js'
export type { Trainer } from './trainer.js'
export type { BatchOptions, DistillationOptions, OptimizerOptions, RunLength, TrainerOptions } from './trainer-options.js'
export { targetWeight, trainingBatch } from './training-batch.js'
export type { PackedRow, RowOptions, RowSource, TrainingData } from './training-data.js'
export { TrainingDivergedError } from './training-diverged-error.js'
export type { ValidationOptions, ValidationResult } from './validation.js'
