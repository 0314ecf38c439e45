/** A shader's text: bundlers put it into the program. */
declare module '*.wgsl?raw' {
  const source: string
  // biome-ignore lint/style/noDefaultExport: how Vite gives a file's text
  export default source
}
