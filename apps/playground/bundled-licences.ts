import license, { type Dependency } from 'rollup-plugin-license'
import type { Plugin } from 'vite'

const OURS = `This page and its model: Apache-2.0, https://github.com/phsa/phsa. The model was trained on text in the public domain, and the texts that come with
the page (Emma by Jane Austen, the World Factbook) are in the public domain. What the page bundles of others:`

/** The package is CommonJS and exports the function itself; its types say that it exports an object. */
const licencesOf = license as unknown as typeof license.default

/** Plugins of a build that leaves `licences.txt` with the licences of what it bundles of others; the worker is bundled apart, before the page. */
export function bundledLicences(): { readonly page: Plugin[]; readonly worker: () => Plugin[] } {
  const found = new Map<string, Dependency>()
  const collect = () =>
    licencesOf({
      thirdParty: {
        output: (dependencies) => {
          for (const dependency of dependencies) found.set(dependency.name ?? '', dependency)
        },
      },
    }) as Plugin
  const write: Plugin = {
    name: 'bundled-licences',
    enforce: 'post',
    generateBundle() {
      const others = [...found.values()].filter(({ name }) => !name?.startsWith('@phsa/'))
      const source = [OURS, ...others.map((dependency) => dependency.text())].join('\n\n---\n\n')
      this.emitFile({ type: 'asset', fileName: 'licences.txt', source: `${source}\n` })
    },
  }
  return { page: [collect(), write], worker: () => [collect()] }
}
