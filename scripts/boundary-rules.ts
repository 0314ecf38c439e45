/**
 * The packages of this repository that one of its workspaces may import (the picture is in CONTRIBUTING.md).
 *
 * @param folder such as `packages/core`
 */
export function allowedWorkspaces(folder: string): readonly string[] | 'any' {
  if (folder === 'packages/core') return []
  if (folder === 'packages/model' || folder.startsWith('packages/kernels-')) return ['@phsa/core']
  // These two take a backend as a value: which kernels there are is the application's business.
  if (folder === 'packages/trainer' || folder === 'packages/server') return ['@phsa/core', '@phsa/model']
  if (folder.startsWith('apps/')) return 'any'
  throw new Error(`No import rule for ${folder}; add one to scripts/boundary-rules.ts.`)
}

/** Whether a source file may import Node's own modules. */
export function importsAnyBuiltin(file: string): boolean {
  return !file.startsWith('packages/core/src/') || file.startsWith('packages/core/src/testing/')
}
