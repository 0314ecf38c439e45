/** Matches case names: `*` stands for any characters, slashes included; everything else for itself. */
export function casePattern(glob: string): (name: string) => boolean {
  const source = glob
    .split('*')
    .map((part) => part.replace(/[.+?^${}()|[\]\\]/g, '\\$&'))
    .join('.*')
  const pattern = new RegExp(`^${source}$`)
  return (name) => pattern.test(name)
}
