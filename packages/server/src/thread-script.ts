/**
 * Where the script of a thread is: beside the file that starts it. Sources run unbuilt with the loader that this process was started with.
 * @param name without the extension, `./http-worker` @param importer `import.meta.url` of who asks
 */
export function threadScript(name: string, importer: string): URL {
  return new URL(`${name}${importer.endsWith('.ts') ? '.ts' : '.js'}`, importer)
}
