interface Component {
  'bom-ref': string
  name: string
  version?: string
  purl?: string
  hashes?: { alg: string; content: string }[]
  externalReferences?: { type: string; url: string }[]
}

/** What is touched here of a CycloneDX 1.5 document. */
export interface Bill {
  metadata: { component: Component }
  components: Component[]
  dependencies: { ref: string; dependsOn?: string[] }[]
}

/**
 * The bill of materials of a package, from that of a project in which it is installed alone: the package takes the project's place, and nothing
 * names the registry it was installed from.
 *
 * @param ours names of the packages that came from there; what is published elsewhere has other hashes, because provenance is in its manifest
 * @throws TypeError where the package is not in the project
 */
export function packageBill(project: Bill, { name, version }: { name: string; version: string }, ours: readonly string[]): Bill {
  const components = project.components.map((component) => (ours.includes(component.name) ? asElsewhere(component) : component))
  const own = components.find((component) => component.name === name && component.version === version)
  if (!own) throw new TypeError(`the project has no ${name} ${version}; install that alone in a project and give its bill.`)
  return {
    ...project,
    metadata: { ...project.metadata, component: own },
    components: components.filter((component) => component !== own),
    dependencies: project.dependencies.filter(({ ref }) => ref !== project.metadata.component['bom-ref']),
  }
}

function asElsewhere({ hashes, externalReferences, ...component }: Component): Component {
  // What follows the version in the address of a package says where its tarball was.
  return { ...component, ...(component.purl && { purl: component.purl.replace(/\?.*$/, '') }) }
}
