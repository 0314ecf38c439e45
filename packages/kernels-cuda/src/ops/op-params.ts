// The parameter structs of the kernels of src/ops, by their C names and with the members in the same order. A test reads the sources and compares.

/** Of add and swiglu. */
export const ElementwiseParams = { a: 'pointer', b: 'pointer', out: 'pointer', count: 'i64' } as const

/** Of swiglu_backward. */
export const SwigluBackwardParams = {
  dy: 'pointer',
  gate: 'pointer',
  up: 'pointer',
  dGate: 'pointer',
  dUp: 'pointer',
  count: 'i64',
} as const

/** Of rms_norm. */
export const RmsNormParams = {
  x: 'pointer',
  other: 'pointer',
  sum: 'pointer',
  weight: 'pointer',
  y: 'pointer',
  rows: 'i64',
  width: 'i32',
  epsilon: 'f32',
} as const

/** Of rms_norm_backward. */
export const RmsNormBackwardParams = {
  dy: 'pointer',
  x: 'pointer',
  weight: 'pointer',
  dx: 'pointer',
  partials: 'pointer',
  rows: 'i64',
  width: 'i32',
  epsilon: 'f32',
} as const

/** Of add_column_sums. */
export const ColumnSumsParams = { partials: 'pointer', target: 'pointer', rows: 'i32', width: 'i32' } as const

/** Of qk_norm_rope. */
export const QkNormRopeParams = {
  x: 'pointer',
  weight: 'pointer',
  positions: 'pointer',
  cos: 'pointer',
  sin: 'pointer',
  y: 'pointer',
  rows: 'i64',
  heads: 'i32',
  headDim: 'i32',
  epsilon: 'f32',
} as const

/** Of qk_norm_rope_backward. */
export const QkNormRopeBackwardParams = {
  dy: 'pointer',
  x: 'pointer',
  weight: 'pointer',
  positions: 'pointer',
  cos: 'pointer',
  sin: 'pointer',
  dx: 'pointer',
  partials: 'pointer',
  rows: 'i64',
  heads: 'i32',
  headDim: 'i32',
  epsilon: 'f32',
} as const

/** One weight of FewRowsParams. */
export const FewRowsPart = { weight: 'pointer', y: 'pointer', columns: 'i32', firstTile: 'i32' } as const

/** Of few_rows_normed, few_rows_added and few_rows_gated. */
export const FewRowsParams = {
  parts: [FewRowsPart, 3],
  x: 'pointer',
  norm: 'pointer',
  residual: 'pointer',
  rows: 'i32',
  depth: 'i32',
  tiles: 'i32',
  partsUsed: 'i32',
  steps: 'i32',
  regionBytes: 'i32',
  sumsAt: 'i32',
  epsilon: 'f32',
} as const

/** Of heads_rope. */
export const HeadsRopeParams = {
  q: 'pointer',
  k: 'pointer',
  qNorm: 'pointer',
  kNorm: 'pointer',
  positions: 'pointer',
  cos: 'pointer',
  sin: 'pointer',
  tokens: 'i32',
  heads: 'i32',
  kvHeads: 'i32',
  headDim: 'i32',
  epsilon: 'f32',
} as const

/** Of embedding. */
export const EmbeddingParams = { table: 'pointer', ids: 'pointer', rows: 'pointer', tokens: 'i32', units: 'i32' } as const

/** Of the kernels of token_order.cu. */
export const TokenOrderParams = {
  ids: 'pointer',
  source: 'pointer',
  target: 'pointer',
  places: 'pointer',
  tokens: 'i32',
  tiles: 'i32',
  vocabulary: 'i32',
  shift: 'i32',
} as const

/** Of embedding_backward and embedding_join. */
export const EmbeddingBackwardParams = {
  dOut: 'pointer',
  ids: 'pointer',
  order: 'pointer',
  dTable: 'pointer',
  partials: 'pointer',
  tokens: 'i32',
  width: 'i32',
} as const

/** One tensor of GradientSquaresParams. */
export const GradientSlice = { values: 'pointer', count: 'i64', firstBlock: 'i32', type: 'i32' } as const

/** Of gradient_squares. */
export const GradientSquaresParams = {
  slices: [GradientSlice, 128],
  partials: 'pointer',
  slicesUsed: 'i32',
  reserved: 'i32',
} as const

/** Of gradient_total. */
export const GradientTotalParams = { partials: 'pointer', norm: 'pointer', count: 'i32', maxNorm: 'f32' } as const

/** One parameter of AdamwParams. */
export const AdamwTensor = {
  value: 'pointer',
  gradient: 'pointer',
  mean: 'pointer',
  variance: 'pointer',
  master: 'pointer',
  count: 'i64',
  firstBlock: 'i32',
  valueType: 'i32',
  gradientType: 'i32',
  weightDecay: 'f32',
} as const

/** Of adamw_step. */
export const AdamwParams = {
  tensors: [AdamwTensor, 60],
  control: 'pointer',
  norm: 'pointer',
  tensorsUsed: 'i32',
  beta1: 'f32',
  beta2: 'f32',
  meanShare: 'f32',
  varianceShare: 'f32',
  epsilon: 'f32',
} as const

/** Of sample_largest, sample_bins and sample. */
export const SampleParams = {
  logits: 'pointer',
  control: 'pointer',
  ids: 'pointer',
  rests: 'pointer',
  largest: 'pointer',
  likeliest: 'pointer',
  counts: 'pointer',
  excesses: 'pointer',
  vocabulary: 'i32',
  parts: 'i32',
  partLogits: 'i32',
  excessScale: 'f32',
} as const

/** Of cross_entropy_loss and cross_entropy_gradient. */
export const CrossEntropyParams = {
  logits: 'pointer',
  targets: 'pointer',
  weights: 'pointer',
  tokenLosses: 'pointer',
  stride: 'i64',
  vocabulary: 'i32',
} as const

/** Of cross_entropy_total. */
export const CrossEntropyTotalParams = { tokenLosses: 'pointer', weights: 'pointer', loss: 'pointer', tokens: 'i32' } as const

/** Of add_sums_bf16. */
export const AddSumsParams = { sums: 'pointer', target: 'pointer', count: 'i64' } as const
