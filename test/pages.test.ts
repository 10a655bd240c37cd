/** What holds for all pages: they are short, they are found from the README, and their links lead somewhere. */
import { assert, describe, it } from "@effect/vitest"
import { execFileSync } from "node:child_process"
import { existsSync, readdirSync } from "node:fs"
import { dirname, join, normalize } from "node:path"
import { pages, readPage, root } from "./support/pages.ts"

const withoutCode = (text: string) => text.replaceAll(/^```.*?^```/gms, "")

const headingsOf = (page: string) => [...withoutCode(readPage(page)).matchAll(/^#+ (.*)$/gm)].map(([, text]) => text!)

/** The anchors that GitHub gives to headings. */
const anchorsOf = (page: string): ReadonlySet<string> =>
  new Set(
    headingsOf(page).map((heading) => heading.toLowerCase().replaceAll(/[^\p{L}\p{N}_ -]/gu, "").replaceAll(" ", "-"))
  )

/** The links inside the project: the file from the root, and the anchor. */
const linksOf = (page: string) =>
  [...withoutCode(readPage(page)).replaceAll(/`[^`\n]*`/g, "").matchAll(/\]\((?!https?:)([^)#]*)#?([^)]*)\)/g)].map(
    ([link, path = "", anchor = ""]) => ({ link, file: path ? normalize(join(dirname(page), path)) : page, anchor })
  )

describe("pages", () => {
  it.each(pages)("%s: every link leads to a file and a heading", (page) => {
    for (const { anchor, file, link } of linksOf(page)) {
      assert.isTrue(existsSync(join(root, file)), `${link}: there is no ${file}`)
      if (anchor) assert.include([...anchorsOf(file)], anchor, link)
    }
  })

  it("of the package, every link leads to a file in the package", () => {
    const output = execFileSync("npm", ["pack", "--dry-run", "--json", "--ignore-scripts"], {
      cwd: root,
      encoding: "utf8"
    })
    const [{ files }] = JSON.parse(output) as [{ readonly files: ReadonlyArray<{ readonly path: string }> }]
    const packed = files.map(({ path }) => path)
    for (const page of packed.filter((path) => path === "README.md" || /^src\/.*\.md$/.test(path))) {
      for (const { file } of linksOf(page)) {
        assert.isTrue(packed.some((path) => path === file || path.startsWith(`${file}/`)), `${page}: ${file}`)
      }
    }
  })

  it("the README leads to every page, and the pages to every example", () => {
    const reached = new Set(["README.md"])
    for (const page of reached) if (pages.includes(page)) { for (const { file } of linksOf(page)) reached.add(file) }
    const examples = readdirSync(join(root, "test/examples"), { recursive: true, encoding: "utf8" })
      .filter((path) => path.endsWith(".ts")).map((path) => `test/examples/${path}`)
    assert.includeMembers([...reached], [...pages, ...examples])
  })

  it("the map of the source names files and functions that are there", () => {
    const [, table = ""] = readPage("src/README.md").split("## Where do I find what?")
    for (const row of table.trim().split("\n").slice(2)) {
      const quoted = [...row.matchAll(/`([^`]+)`/g)].map(([, text]) => text!)
      const files = quoted.filter((text) => text.endsWith(".ts"))
      const source = files.map((file) => readPage(`src/internal/${file}`)).join("\n")
      const names = quoted.filter((text) => !files.includes(text)).flatMap((name) => name.split("."))
      for (const name of names) assert.include(source, name, row)
    }
  })

  it("each says in its first heading what it is about, and no heading twice", () => {
    for (const page of pages) {
      const text = readPage(page)
      assert.match(text, /^# /, page)
      if (page !== "CHANGELOG.md") assert.strictEqual(anchorsOf(page).size, headingsOf(page).length, page)
    }
  })

  it("the README has at most 14 KB, each guide 13, and AGENTS.md 2", () => {
    const guides = pages.filter((page) => page.startsWith("src/guide/"))
    assert.isAtLeast(guides.length, 8)
    const kilobytes = (page: string) => Buffer.byteLength(readPage(page)) / 1024
    assert.isAtMost(kilobytes("README.md"), 14)
    for (const page of guides) assert.isAtMost(kilobytes(page), 13, page)
    assert.isAtMost(kilobytes("src/AGENTS.md"), 2)
  })
})
