/** Whether any node of a graph leads back to itself. */
export function inLoop(edges: ReadonlyMap<string, ReadonlySet<string>>): boolean {
  const done = new Set<string>()
  const leadsBack = (node: string, path: ReadonlySet<string>): boolean => {
    if (path.has(node)) return true
    if (done.has(node)) return false
    const longer = new Set(path).add(node)
    const found = [...(edges.get(node) ?? [])].some((next) => leadsBack(next, longer))
    done.add(node)
    return found
  }
  return [...edges.keys()].some((node) => leadsBack(node, new Set()))
}
