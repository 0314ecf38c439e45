import type { DType } from '@phsa/core'

/**
 * Peak of 16-bit matrix products with sums in f32, in TFLOP/s without structured sparsity, as NVIDIA's data sheets and architecture white papers of these
 * GPUs have it (sheets that give the figure with sparsity: half of it). The first that fits a name counts.
 */
const PEAKS: readonly (readonly [name: RegExp, teraflops: number])[] = [
  [/\bH[12]00 NVL\b/, 835.5],
  [/\bH100 PCIe\b/, 756],
  [/\bH100\b/, 989.4],
  [/\bH200\b/, 989.4],
  [/\bA100\b/, 312],
  [/\bL40S\b/, 362],
  [/\bRTX 4090(?! D| Laptop)/, 165.2],
]

/**
 * Peak of one device in TFLOP/s for a model's element type; undefined where it is not known: no utilisation is better than a wrong one.
 * @param device as a backend describes it: "NVIDIA H100 80GB HBM3, compute capability 9.0, ..."
 */
export function peakTeraflops({ name, device }: { readonly name: string; readonly device: string }, dtype: DType): number | undefined {
  if (name !== 'cuda' || (dtype !== 'bf16' && dtype !== 'f16')) return undefined
  // A slice of a GPU has a slice of its peak, which the name does not give.
  if (/\bMIG\b/.test(device)) return undefined
  return PEAKS.find(([pattern]) => pattern.test(device))?.[1]
}
