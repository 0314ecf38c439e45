// The parameter structs of layer_shape.cuh, as in ../attention/kernel-params.ts.

/** A layer of decode_layers_sm90. */
export const LayerParams = {
  norm: 'pointer',
  q: 'pointer',
  k: 'pointer',
  v: 'pointer',
  qNorm: 'pointer',
  kNorm: 'pointer',
  o: 'pointer',
  postNorm: 'pointer',
  gate: 'pointer',
  up: 'pointer',
  down: 'pointer',
  keyPages: 'pointer',
  valuePages: 'pointer',
  reps: 'pointer',
  markedSums: 'pointer',
  marked: 'pointer',
  halfReps: 'pointer',
  lambda: 'pointer',
  initBlocks: 'i32',
  localBlocks: 'i32',
} as const

/** Of decode_layers_sm90. */
export const DecodeLayersParams = {
  layers: [LayerParams, 24],
  x: 'pointer',
  y: 'pointer',
  positions: 'pointer',
  cos: 'pointer',
  sin: 'pointer',
  marks: 'pointer',
  queryStarts: 'pointer',
  keyLengths: 'pointer',
  pageTable: 'pointer',
  topK: 'pointer',
  denseBelow: 'pointer',
  exchange: 'pointer',
  layersUsed: 'i32',
  pages: 'i32',
  pageTokens: 'i32',
  mostTopK: 'i32',
  score: 'i32',
  epsilon: 'f32',
} as const
