import type { LabDescription, Place } from '../lab-contract.js'

const USUAL_TOKENS: Readonly<Record<Place, number>> = { webgpu: 2048, wasm: 1024 }

/** Tokens that are read where nobody chose: what a device does in a few seconds. */
export function usualTokens({ place, maxPositions }: LabDescription): number {
  return Math.min(USUAL_TOKENS[place], maxPositions)
}
