import { readdirSync } from 'node:fs'
import { join } from 'node:path'

/**
 * The pages of the documentation site as they are written, without what is generated, and without `runs`: these are records of studies.
 * @param root of the repository
 * @returns paths from the folder `docs`: `guide/attention.md`
 */
export function documentationPages(root: string): string[] {
  return readdirSync(join(root, 'docs'), { recursive: true, encoding: 'utf8' })
    .map((name) => name.replaceAll('\\', '/'))
    .filter((name) => name.endsWith('.md') && !/^(\.vitepress|api|runs)\//.test(name))
    .sort()
}
