/** The pages of the documentation, by their paths from the root. */
import { readdirSync, readFileSync } from "node:fs"
import { fileURLToPath } from "node:url"

export const root = fileURLToPath(new URL("../..", import.meta.url))

const under = (directory: string) =>
  readdirSync(`${root}/${directory}`, { recursive: true, encoding: "utf8" })
    .filter((path) => path.endsWith(".md"))
    .map((path) => `${directory}/${path}`)

export const pages: ReadonlyArray<string> = [
  "README.md",
  "test/README.md",
  "CHANGELOG.md",
  ...under("src"),
  ...under("test")
]

export const readPage = (path: string): string => readFileSync(`${root}/${path}`, "utf8")
