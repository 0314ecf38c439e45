import { createRequire } from 'node:module'
import { pathToFileURL } from 'node:url'

/** The module of XGrammar. */
export type XGrammar = typeof import('@mlc-ai/web-xgrammar')

/**
 * Loads XGrammar into this thread, which should be a worker's own: the package is a script that says to be a module. It leaves its exports in a global
 * variable, and asks for the page's address where Node has none.
 */
export async function loadXGrammar(): Promise<XGrammar> {
  const name = '@mlc-ai/web-xgrammar'
  const scope = globalThis as { location?: unknown; xgrammar?: XGrammar }
  scope.location ??= { href: pathToFileURL(createRequire(import.meta.url).resolve(name)).href }
  await import(name)
  if (!scope.xgrammar) throw new Error(`${name} has left no exports; its version is not one that this server was made for.`)
  return scope.xgrammar
}
