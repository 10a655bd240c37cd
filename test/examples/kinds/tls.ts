import { Redsync } from "effect-redsync"
import * as IoredisNode from "effect-redsync/IoredisNode"
import { readFileSync } from "node:fs"

// A private CA, and servers that require a client certificate (tls-auth-clients yes, which is the default).
// With a publicly trusted CA and no client certificates, rediss:// URLs are enough.
export const overTls = (
  servers: ReadonlyArray<{ readonly host: string; readonly port: number }>,
  pem: { readonly ca: string; readonly cert: string; readonly key: string }
) => {
  const tls = { ca: readFileSync(pem.ca), cert: readFileSync(pem.cert), key: readFileSync(pem.key) }
  return Redsync.layer({ nodes: servers.map((server) => IoredisNode.make({ ...server, tls })) })
}
