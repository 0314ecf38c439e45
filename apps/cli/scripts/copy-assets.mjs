// Copies the text and the tokenizer that `phsa demo` trains with, and the playground's pages where they are built, into the package, so that the published
// one has them.
import { copyFileSync, cpSync, existsSync, mkdirSync, readdirSync, renameSync, rmSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

const fixtures = fileURLToPath(new URL('../../../fixtures/', import.meta.url))
const assets = fileURLToPath(new URL('../assets/', import.meta.url))

for (const folder of ['text', 'tokenizer-8k']) {
  mkdirSync(`${assets}${folder}`, { recursive: true })
  for (const name of readdirSync(`${fixtures}${folder}`)) {
    // Renamed into place: tests that run at the same time never read half a file.
    const temporary = `${assets}${folder}/.${name}.${process.pid}`
    copyFileSync(`${fixtures}${folder}/${name}`, temporary)
    renameSync(temporary, `${assets}${folder}/${name}`)
  }
}

const pages = fileURLToPath(new URL('../../playground/dist/', import.meta.url))
if (existsSync(pages)) {
  const temporary = `${assets}.playground.${process.pid}`
  cpSync(pages, temporary, { recursive: true })
  rmSync(`${assets}playground`, { recursive: true, force: true })
  renameSync(temporary, `${assets}playground`)
}
