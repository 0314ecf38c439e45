import { getRequestListener } from '@hono/node-server'
import { serveStatic } from '@hono/node-server/serve-static'
import { InvalidConfigError } from '@phsa/core'
import { Hono } from 'hono'
import { HttpListener } from './http-listener.js'
import { isLoopback } from './is-loopback.js'
import { urlOf } from './url-of.js'

/** What is served, and where. */
export interface FolderOptions {
  /** Static files; `/` is its index.html. */
  readonly folder: string
  /** A name or address of this machine alone; default 127.0.0.1. */
  readonly host?: string
  /** 0 for any that is free. */
  readonly port: number
}

/** A folder that is being served. */
export interface ServedFolder {
  readonly url: string
  close(): Promise<void>
}

/**
 * Serves static files to this machine, without an API.
 * @throws InvalidConfigError for a host that others reach; an error of code `listen` for an address that cannot be listened on
 */
export async function serveFolder({ folder, host = '127.0.0.1', port }: FolderOptions): Promise<ServedFolder> {
  if (!isLoopback(host)) {
    throw new InvalidConfigError('host', `${host} is reached from other machines; a folder is served on 127.0.0.1, ::1 or localhost alone.`)
  }
  const app = new Hono()
  app.use(serveStatic({ root: folder }))
  const listener = await HttpListener.listen(getRequestListener(app.fetch), host, port)
  return { url: urlOf(listener.address), close: () => listener.close() }
}
