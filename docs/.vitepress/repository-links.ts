import { posix } from 'node:path'
import type { MarkdownRenderer } from 'vitepress'

/**
 * A page that includes a file of elsewhere in the repository names its folder as `linksFrom` in its front matter: relative links then lead to GitHub.
 * @param repository address without a slash at its end
 */
export function repositoryLinks(md: MarkdownRenderer, repository: string): void {
  md.core.ruler.push('repository-links', ({ tokens, env }) => {
    const folder: unknown = env.frontmatter?.linksFrom
    if (typeof folder !== 'string') return
    for (const token of tokens.flatMap(({ children }) => children ?? [])) {
      const target = token.type === 'link_open' ? token.attrGet('href') : null
      if (target && !/^([a-z]+:|[#/])/i.test(target)) {
        token.attrSet('href', `${repository}/blob/main/${posix.normalize(posix.join(folder, target))}`)
      }
    }
  })
}
