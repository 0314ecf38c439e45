// Copies the text and the tokenizer that `phsa demo` trains with into the package, so that the published one has them.
import { copyFileSync, mkdirSync, readdirSync, renameSync } from 'node:fs'
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
