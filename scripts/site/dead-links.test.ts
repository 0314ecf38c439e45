import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { deadLinks } from './dead-links.js'

let folder: string
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'phsa-site-'))
  for (const name of ['guide', 'api']) mkdirSync(join(folder, name))
  writeFileSync(join(folder, 'index.html'), '<h1 id="top">PHSA</h1>')
  writeFileSync(join(folder, 'api/index.html'), '<a href="nowhere.html">of TypeDoc</a>')
})
afterEach(() => rmSync(folder, { recursive: true }))

const page = (html: string) => writeFileSync(join(folder, 'guide/page.html'), html)

test('links to files, folders, headings and elsewhere are alive', () => {
  page(
    '<a class="x" href="/#top">a</a><a href="../index.html">b</a><a href="/api/">c</a><a href="#own" id="own">d</a><a href="https://example.org/#x">e</a>',
  )
  expect(deadLinks(folder)).toEqual([])
})

test('links to what is not there are named with their page', () => {
  page('<a href="/gone.html">a</a><a href="/#gone">b</a><img src="gone.svg"><a href="#gone">c</a>')
  expect(deadLinks(folder)).toEqual(['/gone.html', '/#gone', 'gone.svg', '#gone'].map((link) => `guide/page.html: ${link}`))
})

test('an include that stayed is a dead link', () => {
  page('<p>&lt;!--@include: gone.md--&gt;</p>')
  expect(deadLinks(folder)).toEqual(['guide/page.html: an include that was not found'])
})

test('a link past the folder that the site lies in is dead', () => {
  page('<a href="/phsa/index.html#top">a</a><a href="/index.html">b</a>')
  expect(deadLinks(folder, '/phsa/')).toEqual(['guide/page.html: /index.html'])
})
