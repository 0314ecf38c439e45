/** Workgroups that fit in one dimension, on every device. */
const MOST_IN_A_DIMENSION = 65535

/** A grid of at least `count` workgroups in x and y: `workgroupIndex` of grid.wgsl numbers them, and a kernel leaves those from `count` on. */
export function gridOf(count: number, z = 1): [number, number, number] {
  if (count <= MOST_IN_A_DIMENSION) return [count, 1, z]
  const rows = Math.ceil(count / MOST_IN_A_DIMENSION)
  return [Math.ceil(count / rows), rows, z]
}
