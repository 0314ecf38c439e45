import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs'
import { dirname, join } from 'node:path'

/**
 * Links of a built site that lead nowhere: to a file or a heading that is not there, and includes that were not found. VitePress itself looks only at
 * pages, and not at headings.
 * @param folder the built site
 * @param base where the site lies on its server, such as `/phsa/`
 * @param skip folder of pages that someone else has checked; links to them are looked at, links in them are not
 * @returns a line a link: page and target
 */
export function deadLinks(folder: string, base = '/', skip = 'api'): string[] {
  const files = readdirSync(folder, { recursive: true, encoding: 'utf8' }).map((name) => name.replaceAll('\\', '/'))
  const pages = files.filter((name) => name.endsWith('.html'))
  const anchors = new Map<string, Set<string>>()
  const anchorsOf = (file: string) => {
    const known = anchors.get(file) ?? new Set([...readFileSync(file, 'utf8').matchAll(/\sid="([^"]*)"/g)].map(([, id]) => id))
    anchors.set(file, known)
    return known
  }

  return pages
    .filter((page) => !page.startsWith(`${skip}/`))
    .flatMap((page) => {
      const html = readFileSync(join(folder, page), 'utf8')
      const targets = new Set([...html.matchAll(/<(?:a|img|link|script)\s[^>]*?(?:href|src)="([^"]*)"/g)].map(([, target]) => target))
      const dead = [...targets].filter((target) => {
        if (/^[a-z]+:/i.test(target)) return false
        const [path, hash = ''] = target.replaceAll('&amp;', '&').split('#')
        const inSite = path.startsWith(base) ? path.slice(base.length) : path.startsWith('/') ? undefined : join(dirname(page), path)
        if (inSite === undefined) return true
        const file = fileOf(join(folder, path === '' ? page : decodeURI(inSite)))
        return file === undefined || (hash !== '' && file.endsWith('.html') && !anchorsOf(file).has(decodeURIComponent(hash)))
      })
      const missing = html.includes('@include') ? ['an include that was not found'] : []
      return [...dead, ...missing].map((target) => `${page}: ${target}`)
    })
}

function fileOf(path: string): string | undefined {
  return [path, `${path}.html`, join(path, 'index.html')].find((file) => existsSync(file) && statSync(file).isFile())
}
