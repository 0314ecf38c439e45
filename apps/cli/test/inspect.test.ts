import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseHTML } from 'linkedom'
import { beforeAll, describe, expect, test } from 'vitest'
import type { PassageMap } from '../src/report/passage-map.js'
import { copyAssets, runHere, temporaryFolder } from './run-phsa.js'

describe('phsa inspect without a model', () => {
  const folder = temporaryFolder()
  const text = join(folder, 'a <b> & c.txt')
  beforeAll(() => {
    copyAssets()
    writeFileSync(text, 'One clause, another & a <third>; then the end. '.repeat(12))
  })

  test('prints blocks, marks punctuation and says what it cannot show', async () => {
    const { code, stdout, stderr } = await runHere(['inspect', text])
    expect(code).toBe(0)
    expect(stdout).toMatch(/\[,:0\.\d\d\]/)
    expect(stderr).toContain('Without a model')
  })

  test('writes an SVG with a cell for each token', async () => {
    const out = join(folder, 'grid.svg')
    const { code, stderr } = await runHere(['inspect', text, '--out', out, '--max-tokens', '70'])
    expect(stderr).toMatch(/showing the first 70 of \d+ tokens/)
    expect(code).toBe(0)
    const markup = readFileSync(out, 'utf8')
    const { document } = parseHTML(markup.replace(/^<\?xml.*\?>/, ''))
    expect(document.querySelectorAll('title')).toHaveLength(70)
    expect(markup).not.toMatch(/NaN|undefined/)
  })

  test('writes a page that fetches nothing and escapes the file name', async () => {
    const out = join(folder, 'not/yet/there/page.html')
    const { code } = await runHere(['inspect', text, '--out', out])
    expect(code).toBe(0)
    const { document } = parseHTML(readFileSync(out, 'utf8'))
    expect(document.querySelector('h1')?.textContent).toBe('a <b> & c.txt')
    expect(document.querySelectorAll('script, link, img, iframe')).toHaveLength(0)
    expect(document.querySelector('svg.block-grid')).not.toBeNull()
  })

  test('--json is the passage itself, also beside a picture', async () => {
    const out = join(folder, 'beside.svg')
    const { code, stdout } = await runHere(['inspect', text, '--max-tokens', '40', '--out', out, '--json'])
    expect(code).toBe(0)
    const { tokens, punctuation, weights, query, policies } = JSON.parse(stdout) as PassageMap
    expect(tokens).toHaveLength(40)
    expect(punctuation).toHaveLength(40)
    expect(weights).toHaveLength(40)
    expect(query).toBe(39)
    expect(policies).toEqual([])
    expect(readFileSync(out, 'utf8')).toContain('<svg')
  })

  test('refuses a picture of another kind, and a query outside the text', async () => {
    const picture = await runHere(['inspect', text, '--out', join(folder, 'grid.png')])
    const query = await runHere(['inspect', text, '--query', '100000'])
    expect(picture.code).toBe(2)
    expect(picture.stderr).toContain('.svg')
    expect(query.code).toBe(2)
    expect(query.stderr).toContain('--query is 100000')
  })
})
