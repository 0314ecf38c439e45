/** The modules of Node that this package works with. */
interface NodeModules {
  'node:fs': typeof import('node:fs')
  'node:fs/promises': typeof import('node:fs/promises')
  'node:path': typeof import('node:path')
}

/** A module of Node by a name that bundlers do not see: what needs one is never called in a page, and a bundle for pages has no stand-in for it. */
export async function nodeModule<Name extends keyof NodeModules>(name: Name): Promise<NodeModules[Name]> {
  return import(/* @vite-ignore */ /* webpackIgnore: true */ name)
}
