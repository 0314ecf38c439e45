/** What Dawn says of a product of subgroup matrices. */
interface SubgroupMatrixConfig {
  readonly componentType: string
  readonly resultComponentType: string
  readonly M: number
  readonly N: number
  readonly K: number
}

/** An adapter's information as Dawn gives it; that of a device has no products. */
type DawnAdapterInfo = GPUAdapterInfo & { readonly subgroupMatrixConfigs?: readonly SubgroupMatrixConfig[] }

/** Whether subgroup matrices of a device, an experiment of Dawn's, multiply 16 x 16 of f16 and add in f32. */
export function matrixUnitsOf({ features }: GPUDevice, { subgroupMatrixConfigs = [] }: DawnAdapterInfo): boolean {
  const needed = ['shader-f16', 'subgroups', 'chromium-experimental-subgroup-matrix'] as GPUFeatureName[]
  if (!needed.every((feature) => features.has(feature))) return false
  return subgroupMatrixConfigs.some(
    ({ componentType, resultComponentType, M, N, K }) =>
      componentType === 'f16' && resultComponentType === 'f32' && [M, N, K].every((extent) => extent === 16),
  )
}
