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
export { requireNoCheckpoint, type SaveLambdaOptions, saveLambda } from './calibration/save-lambda.js'
export { bestCheckpoint } from './checkpoint/best-checkpoint.js'
export { type FoundCheckpoint, listCheckpoints } from './checkpoint/checkpoint-folder.js'
export type { CheckpointOptions } from './checkpoint/checkpoint-options.js'
export { DamagedCheckpointError } from './checkpoint/damaged-checkpoint-error.js'
export { type ExportedCheckpoint, type ExportOptions, exportCheckpoint } from './checkpoint/export-checkpoint.js'
export { type CheckpointChoice, findCheckpoint } from './checkpoint/find-checkpoint.js'
export type { ResumeOptions } from './checkpoint/resume-checkpoint.js'
export { createTrainer } from './create-trainer.js'
export { type BadRecordReport, DocumentReader, type ReadOptions } from './data/document-reader.js'
export { type BadRecord, describePosition, type RecordPosition, type SourceDocument } from './data/document-record.js'
export type { DocumentTokenizer } from './data/document-tokenizer.js'
export type { DocumentEncoder } from './data/encode-in-order.js'
export { punctuationIdentity, tokenizerIdentity } from './data/identities.js'
export { type MixedRows, type Mixture, type MixturePart, mixtureOf } from './data/mixture.js'
export { PackedRows } from './data/packed-rows.js'
export { type OpenShardsOptions, ShardedDataset } from './data/sharded-dataset.js'
export type { SourceFile, SourceKind } from './data/source-files.js'
export { splitDocuments } from './data/split-documents.js'
export { TextDataset, type TextOptions, type TokenizeOptions, type TokenizeProgress } from './data/text-dataset.js'
export {
  isTokenizedCorpus,
  type ManifestSource,
  readManifest,
  type Shard,
  type ShardFile,
  type TokenManifest,
  type TokenRecipe,
  type TokenType,
} from './data/token-manifest.js'
export { type CorpusProgress, type TokenizeCorpusOptions, type TokenizedCorpus, tokenizeCorpus } from './data/tokenize-corpus.js'
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
export type {
  BatchOptions,
  DistillationOptions,
  OptimizerOptions,
  RunLength,
  TrainerOptions,
} from './trainer-options.js'
export { targetWeight, trainingBatch } from './training-batch.js'
export type { PackedRow, RowOptions, RowSource, TrainingData } from './training-data.js'
export { TrainingDivergedError } from './training-diverged-error.js'
export type { RunPosition, TrainingRecord } from './training-record.js'
export type { ValidationOptions, ValidationResult } from './validation.js'
export { peakTeraflops } from './watching/peak-flops.js'
export { type FlopsModel, TrainingFlops } from './watching/training-flops.js'
