// The parameter structs of kernels/*.cu, by their C names and with the members in the same order. A test reads the sources and compares.

/** Where queries, keys and representatives lie, packed or paged: sequences.cuh. */
export const Sequences = {
  queryStarts: 'pointer',
  keyStarts: 'pointer',
  blockStarts: 'pointer',
  keyLengths: 'pointer',
  pageTable: 'pointer',
  topK: 'pointer',
  denseBelow: 'pointer',
  sequences: 'i32',
  queryTokens: 'i32',
  keyTokens: 'i32',
  blocks: 'i32',
  pagesPerSequence: 'i32',
  pageTokens: 'i32',
} as const

/** The numbers of a spec: sequences.cuh. */
export const Rules = {
  heads: 'i32',
  kvHeads: 'i32',
  blockSize: 'i32',
  initBlocks: 'i32',
  localBlocks: 'i32',
  topK: 'i32',
  representatives: 'i32',
  denseBelow: 'i32',
  score: 'i32',
  scale: 'f32',
} as const

/** Of pool_blocks. */
export const PoolParams = {
  k: 'pointer',
  weights: 'pointer',
  punctuation: 'pointer',
  lambda: 'pointer',
  reps: 'pointer',
  sequences: Sequences,
  rules: Rules,
} as const

/** Of pool_blocks_backward. */
export const PoolBackwardParams = {
  k: 'pointer',
  weights: 'pointer',
  punctuation: 'pointer',
  lambda: 'pointer',
  dReps: 'pointer',
  dk: 'pointer',
  lambdaTerms: 'pointer',
  sequences: Sequences,
  rules: Rules,
} as const

/** Of pool_lambda_gradient. */
export const LambdaGradientParams = { terms: 'pointer', dLambda: 'pointer', tokens: 'i32', kvHeads: 'i32' } as const

/** Of select_blocks. */
export const SelectParams = {
  q: 'pointer',
  reps: 'pointer',
  selected: 'pointer',
  sequences: Sequences,
  rules: Rules,
  queriesPerWarp: 'i32',
  rowsPerWarp: 'i32',
} as const

/** Of block_starts. */
export const BlockStartsParams = { starts: 'pointer', sequences: Sequences, rules: Rules } as const

/** Of select_tiles_sm90 and select_tiles_paged_sm90. */
export const SelectTilesParams = { reps: 'pointer', tiles: 'pointer', sequences: Sequences, rules: Rules } as const

/** Of the kernels of select_blocks_sm90.cu and select_pair_sm90.cu that choose. */
export const SelectTensorParams = { q: 'pointer', tiles: 'pointer', selected: 'pointer', sequences: Sequences, rules: Rules } as const

/** Of select_top. */
export const SelectTopParams = {
  scores: 'pointer',
  rows: 'pointer',
  selected: 'pointer',
  sequences: Sequences,
  rules: Rules,
  count: 'i32',
  maxBlocks: 'i32',
} as const

/** Of attend. */
export const AttendParams = {
  q: 'pointer',
  k: 'pointer',
  v: 'pointer',
  selected: 'pointer',
  out: 'pointer',
  lse: 'pointer',
  sequences: Sequences,
  rules: Rules,
} as const

/** Of attend_overlap_sm90, attend_lists_sm90 and attend_tiles_sm90. */
export const AttendTilesParams = {
  q: 'pointer',
  k: 'pointer',
  v: 'pointer',
  selected: 'pointer',
  out: 'pointer',
  lse: 'pointer',
  units: 'pointer',
  masks: 'pointer',
  counts: 'pointer',
  next: 'pointer',
  excess: 'pointer',
  wanted: 'pointer',
  left: 'pointer',
  leftCounts: 'pointer',
  partials: 'pointer',
  partialLse: 'pointer',
  sequences: Sequences,
  rules: Rules,
  firstTile: 'i32',
  tiles: 'i32',
  firstHead: 'i32',
  heads: 'i32',
  capacity: 'i32',
  words: 'i32',
  listBlocks: 'i32',
  samples: 'i32',
  unitsLimit: 'i32',
  passUnits: 'i32',
} as const

/** Of count_selected, scan_selected and fill_selected. */
export const SelectedListsParams = {
  selected: 'pointer',
  cursors: 'pointer',
  rows: 'pointer',
  sequences: Sequences,
  rules: Rules,
  chunks: 'i32',
  chunkRows: 'i32',
} as const

/** Of count_block_lists, sum_block_lists, scan_block_lists and fill_block_lists. */
export const BlockListsParams = {
  selected: 'pointer',
  wanted: 'pointer',
  offsets: 'pointer',
  starts: 'pointer',
  entries: 'pointer',
  sequences: Sequences,
  rules: Rules,
  sectionRows: 'i32',
  chunks: 'i32',
  chunkRows: 'i32',
  rangeBlocks: 'i32',
} as const

/** Of attend_selected and merge_selected. */
export const AttendSelectedParams = {
  q: 'pointer',
  k: 'pointer',
  v: 'pointer',
  selected: 'pointer',
  wanted: 'pointer',
  starts: 'pointer',
  entries: 'pointer',
  partials: 'pointer',
  partialLse: 'pointer',
  out: 'pointer',
  lse: 'pointer',
  sequences: Sequences,
  rules: Rules,
  section: 'i32',
  sectionRows: 'i32',
  firstHead: 'i32',
  slabHeads: 'i32',
} as const

/** Of attend_delta. */
export const DeltaParams = { out: 'pointer', dOut: 'pointer', delta: 'pointer', rows: 'i64' } as const

/** Of attend_query_gradient. */
export const QueryGradientParams = {
  q: 'pointer',
  k: 'pointer',
  v: 'pointer',
  selected: 'pointer',
  lse: 'pointer',
  delta: 'pointer',
  dOut: 'pointer',
  dq: 'pointer',
  sequences: Sequences,
  rules: Rules,
} as const

/** Of attend_key_gradient. */
export const KeyGradientParams = {
  q: 'pointer',
  k: 'pointer',
  v: 'pointer',
  lse: 'pointer',
  delta: 'pointer',
  dOut: 'pointer',
  cursors: 'pointer',
  rows: 'pointer',
  dk: 'pointer',
  dv: 'pointer',
  sequences: Sequences,
  rules: Rules,
  chunks: 'i32',
  keyTiles: 'i32',
} as const

/** Of attend_forced_gradient_sm90 and attend_forced_gradient_sum. */
export const ForcedKeyGradientParams = {
  q: 'pointer',
  k: 'pointer',
  v: 'pointer',
  lse: 'pointer',
  delta: 'pointer',
  dOut: 'pointer',
  dk: 'pointer',
  dv: 'pointer',
  partials: 'pointer',
  sequences: Sequences,
  rules: Rules,
  chunk: 'i32',
  chunkItems: 'i32',
  initTiles: 'i32',
} as const

/** Of attend_query_gradient_sm90. */
export const QueryGradientSlabParams = {
  q: 'pointer',
  k: 'pointer',
  v: 'pointer',
  selected: 'pointer',
  lse: 'pointer',
  delta: 'pointer',
  dOut: 'pointer',
  dqPartials: 'pointer',
  dq: 'pointer',
  sequences: Sequences,
  rules: Rules,
  firstRow: 'i32',
  rows: 'i32',
  firstKvHead: 'i32',
  kvHeads: 'i32',
} as const

/** Of selected_gradient_cut, selected_gradient_m16 to m64 and selected_gradient_finish. */
export const SelectedGradientParams = {
  q: 'pointer',
  k: 'pointer',
  v: 'pointer',
  lse: 'pointer',
  delta: 'pointer',
  dOut: 'pointer',
  starts: 'pointer',
  entries: 'pointer',
  dkSums: 'pointer',
  dvSums: 'pointer',
  dk: 'pointer',
  dv: 'pointer',
  dqPartial: 'pointer',
  counters: 'pointer',
  lists: 'pointer',
  pieces: 'pointer',
  partials: 'pointer',
  sequences: Sequences,
  rules: Rules,
  firstRow: 'i32',
  rows: 'i32',
  firstKvHead: 'i32',
  kvHeads: 'i32',
  last: 'i32',
  pieceEntries: 'i32',
  headPieces: 'i32',
  reserved: 'i32',
} as const

/** Of block_mass. */
export const BlockMassParams = {
  q: 'pointer',
  k: 'pointer',
  rows: 'pointer',
  mass: 'pointer',
  sequences: Sequences,
  rules: Rules,
  count: 'i32',
  maxBlocks: 'i32',
} as const

/** What all kernels of the distillation loss share: selection_sample.cuh. */
export const SelectionLossInput = {
  q: 'pointer',
  reps: 'pointer',
  mass: 'pointer',
  rows: 'pointer',
  headLogs: 'pointer',
  blockExcesses: 'pointer',
  headExcesses: 'pointer',
  partial: 'pointer',
  totals: 'pointer',
  sequences: Sequences,
  rules: Rules,
  count: 'i32',
  maxBlocks: 'i32',
} as const

/** Of selection_loss. */
export const SelectionLossParams = { input: SelectionLossInput } as const

/** Of selection_loss_total. */
export const SelectionLossTotalParams = { input: SelectionLossInput, loss: 'pointer' } as const

/** Of selection_loss_query. */
export const SelectionLossQueryParams = { input: SelectionLossInput, dq: 'pointer', coefficient: 'f32' } as const

/** Of selection_loss_reps. */
export const SelectionLossRepsParams = { input: SelectionLossInput, dReps: 'pointer', coefficient: 'f32' } as const

/** Of append_tokens. */
export const AppendParams = {
  k: 'pointer',
  v: 'pointer',
  marks: 'pointer',
  lambda: 'pointer',
  keyPages: 'pointer',
  valuePages: 'pointer',
  reps: 'pointer',
  markedSums: 'pointer',
  marked: 'pointer',
  halfReps: 'pointer',
  sequences: Sequences,
  rules: Rules,
  copyBlocks: 'i32',
  sumBlocks: 'i32',
} as const

/** Of select_paged. */
export const SelectPagedParams = {
  q: 'pointer',
  reps: 'pointer',
  selected: 'pointer',
  scores: 'pointer',
  sums: 'pointer',
  arrivals: 'pointer',
  sequences: Sequences,
  rules: Rules,
  firstTile: 'i32',
  splits: 'i32',
  capacity: 'i32',
  tileQueries: 'i32',
} as const

/** Of select_decode_sm90. */
export const SelectDecodeParams = {
  q: 'pointer',
  reps: 'pointer',
  selected: 'pointer',
  sequences: Sequences,
  rules: Rules,
  tileQueries: 'i32',
  capacity: 'i32',
} as const

/** Of attend_paged and attend_decode_sm90. */
export const AttendPagedParams = {
  q: 'pointer',
  k: 'pointer',
  v: 'pointer',
  selected: 'pointer',
  out: 'pointer',
  lse: 'pointer',
  partials: 'pointer',
  partialSums: 'pointer',
  arrivals: 'pointer',
  sequences: Sequences,
  rules: Rules,
  splits: 'i32',
  leastKeys: 'i32',
} as const

/** Of attend_step and attend_step_sm90. */
export const DecodeStepParams = { attention: AttendPagedParams, tokens: AppendParams, selected: 'pointer', capacity: 'i32' } as const
