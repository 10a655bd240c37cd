import { Redsync } from "effect-redsync"
import { readFileSync } from "node:fs"

// A private authority, and servers that ask for a client's certificate (tls-auth-clients yes, which is the default).
// With a public one and without client certificates, rediss:// URLs are all it takes.
export const overTls = (
  servers: ReadonlyArray<{ readonly host: string; readonly port: number }>,
  pem: { readonly ca: string; readonly cert: string; readonly key: string }
) => {
  const tls = { ca: readFileSync(pem.ca), cert: readFileSync(pem.cert), key: readFileSync(pem.key) }
  return Redsync.layer({ nodes: servers.map((server) => ({ ...server, tls })) })
}
