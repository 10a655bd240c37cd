/** The pictures of the pages are what their scripts draw, can be read in the dark and without eyes, and are small. */
import { assert, describe, it } from "@effect/vitest"
import { readdirSync, readFileSync } from "node:fs"
import { basename } from "node:path"
import { pages, readPage, root } from "../support/pages.ts"
import { recorded } from "./demo/recording.ts"
import { pictures } from "./pictures.ts"

describe("pictures", () => {
  it("are up to date: npm run pictures", () => {
    for (const [file, picture] of pictures()) assert.strictEqual(readFileSync(file, "utf8"), picture, file)
    const drawn = [...pictures().keys()].map((file) => basename(file))
    assert.sameMembers(readdirSync(`${root}src/pictures`), drawn)
  })

  it.each([...pictures()])("%s is small, follows the system's colours and loads nothing", (_, picture) => {
    assert.isBelow(Buffer.byteLength(picture), 20 * 1024)
    assert.match(picture, /<title>.+<\/title>\n<desc>.+<\/desc>/)
    assert.include(picture, "prefers-color-scheme:dark")
    assert.notMatch(picture.replace("http://www.w3.org/2000/svg", ""), /https?:|@import|url\(/)
  })

  it("are shown on a page, with words for those who do not see them", () => {
    const shown = new Set<string>()
    for (const page of pages) {
      for (const [, alt = "", file = ""] of readPage(page).matchAll(/!\[([^\]]*)\]\(([^)]*\.svg)\)/g)) {
        assert.isAbove(alt.length, 20, `${page}: ${file}`)
        shown.add(basename(file))
      }
    }
    for (const file of pictures().keys()) assert.include([...shown], basename(file))
  })

  it("the recorded demo says what the demo says", () => {
    const { frames, introduction, legend, summary } = recorded()
    const source = ["view", "story"].map((name) => readPage(`src/cli/demo/${name}.ts`)).join("\n")
    for (const part of legend.split("; ")) assert.include(source, part)
    assert.include(source, introduction.slice(introduction.indexOf("workers"), introduction.indexOf("3 of 5")))
    for (const row of summary.slice(1)) assert.include(source, `"${row.trim().split(/ {2,}/)[0]}"`)
    assert.include(source, frames.at(-1)!.headline)
  })
})
