// The documentation site. `npm run docs:site` builds it into docs/.vitepress/dist, around the API reference that `npm run docs` leaves and the playground,
// and fails on dead links; `npm run docs:dev` serves it without these two and follows changes.
import { cpSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { build, createServer } from 'vitepress'
import { root } from '../command.mjs'
import { benchmarkTables } from './benchmark-tables.js'
import { deadLinks } from './dead-links.js'

const docs = join(root, 'docs')
const built = join(docs, '.vitepress/dist')

function writeTables(): void {
  const results = join(root, 'benchmarks/results')
  const files = readdirSync(results).map((name) => ({ name, content: JSON.parse(readFileSync(join(results, name), 'utf8')) }))
  const folder = join(docs, '.vitepress/generated')
  mkdirSync(folder, { recursive: true })
  for (const [page, text] of benchmarkTables(files)) writeFileSync(join(folder, `${page}.md`), text)
}

async function buildSite(): Promise<void> {
  await build(docs)
  cpSync(join(docs, 'api'), join(built, 'api'), { recursive: true })
  cpSync(join(root, 'apps/playground/dist'), join(built, 'playground'), { recursive: true })
  const dead = deadLinks(built, process.env.PHSA_SITE_BASE)
  for (const link of dead) console.error(`dead link: ${link}`)
  if (dead.length > 0) process.exitCode = 1
}

writeTables()
if (process.argv[2] === 'dev') {
  const server = await createServer(docs)
  await server.listen()
  server.printUrls()
} else {
  await buildSite()
}
