import { existsSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { expect, test } from 'vitest'
import { SIDEBAR } from '../../docs/.vitepress/contents.js'
import { root } from '../command.mjs'
import { documentationPages } from './documentation-pages.js'

const docs = join(root, 'docs')
const pages = documentationPages(root)

test('the sidebar has every page, but for the home page and the decisions, which have a list of their own', () => {
  const links = SIDEBAR.flatMap(({ items }) => items ?? []).map(({ link }) => link)
  const listed = pages.filter((page) => page !== 'index.md' && !/^decisions\/\d/.test(page))
  const addresses = listed.map((page) => `/${page.replace(/(README|index)?\.md$/, '')}`)
  expect(links.filter((link) => link !== '/api/index.html').sort()).toEqual(addresses.sort())
  const decisions = readFileSync(join(docs, 'decisions/README.md'), 'utf8')
  for (const page of pages.filter((name) => /^decisions\/\d/.test(name)))
    expect(decisions).toContain(`](${page.slice('decisions/'.length)})`)
})

// VitePress leaves an include as it is when the file is not there, and takes all of it when the region is not.
test.each(pages)('what %s takes in is there', (page) => {
  const text = readFileSync(join(docs, page), 'utf8')
  for (const [, target] of text.matchAll(/^(?:<!--@include: |<<< )(\S+?)(?:-->)?$/gm)) {
    const [file, region] = target.split('#')
    if (file.includes('/.vitepress/generated/')) continue
    const path = join(docs, dirname(page), file)
    expect(existsSync(path), path).toBe(true)
    if (region) expect(readFileSync(path, 'utf8')).toMatch(new RegExp(`<!-- #region ${region} -->[^]*<!-- #endregion ${region} -->`))
  }
})
