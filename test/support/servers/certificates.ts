/**
 * A private certificate authority, made anew for a test, with a certificate of a
 * server on this machine and one of a client.
 */
import { Effect } from "effect"
import { mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { generate } from "selfsigned"

/** The paths of PEM files. */
export interface Certificates {
  readonly ca: string
  readonly server: Certificate
  readonly client: Certificate
}

export interface Certificate {
  readonly cert: string
  readonly key: string
}

const options = { algorithm: "sha256", keyType: "ec" } as const

const make = async (directory: string): Promise<Certificates> => {
  const write = (name: string, pem: string) => {
    const path = join(directory, name)
    writeFileSync(path, pem, { mode: 0o600 })
    return path
  }
  const ca = await generate([{ name: "commonName", value: "Private CA" }], {
    ...options,
    extensions: [
      { name: "basicConstraints", cA: true, critical: true },
      { name: "keyUsage", keyCertSign: true, cRLSign: true, critical: true }
    ]
  })
  const signed = async (name: string, commonName: string): Promise<Certificate> => {
    const pem = await generate([{ name: "commonName", value: commonName }], {
      ...options,
      ca: { key: ca.private, cert: ca.cert }
    })
    return { cert: write(`${name}.pem`, pem.cert), key: write(`${name}.key`, pem.private) }
  }
  return {
    ca: write("ca.pem", ca.cert),
    // For which the certificate names 127.0.0.1 as well.
    server: await signed("server", "localhost"),
    client: await signed("client", "locker")
  }
}

export const certificates = Effect.map(
  Effect.acquireRelease(
    Effect.promise(async () => {
      const directory = mkdtempSync(join(tmpdir(), "effect-redsync-test-certificates-"))
      return { directory, files: await make(directory) }
    }),
    ({ directory }) => Effect.sync(() => rmSync(directory, { recursive: true, force: true }))
  ),
  ({ files }) => files
)
