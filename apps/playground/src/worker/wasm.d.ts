/** Where the build puts a WebAssembly file: an address relative to the page. */
declare module '*.wasm?url' {
  const address: string
  // biome-ignore lint/style/noDefaultExport: how Vite gives a file's address
  export default address
}
