/** Every public export, and every field of it, has a doc comment. */
import { assert, describe, it } from "@effect/vitest"
import { API, type Symbol, SymbolFlags } from "typescript/unstable/sync"
import { sourcesOfEntryPoints } from "./support/entryPoints.ts"
import { root } from "./support/pages.ts"

const api = new API({ cwd: root })
const { checker, program } = api.updateSnapshot({ openProject: `${root}tsconfig.build.json` }).getProjects()[0]!

const commentOf = (symbol: Symbol) => checker.getDocumentationCommentOfSymbol(symbol)

const isModule = ({ flags }: Symbol) => (flags & SymbolFlags.ValueModule) !== 0

/** What a module exports, under the names it has there. Namespaces are entry points themselves. */
const exportsOf = (file: string) =>
  checker.getExportsOfModule(checker.getSymbolAtLocation(program.getSourceFile(`${root}${file}`)!)!)
    .map((symbol) => ({
      name: symbol.name,
      target: symbol.flags & SymbolFlags.Alias ? checker.getAliasedSymbol(symbol) : symbol
    }))
    .filter(({ target }) => !isModule(target))

/** Those without a comment of their own that the comment of the whole does not name either. */
const undocumentedFields = (symbol: Symbol) =>
  [...symbol.getMembers().values()].filter((member) =>
    !(member.flags & SymbolFlags.TypeParameter) && !["_tag", "message"].includes(member.name) &&
    commentOf(member) === "" && !commentOf(symbol).includes(`\`${member.name}\``)
  )

describe("doc comments", () => {
  it.each(sourcesOfEntryPoints)("%s says what it is, and since when", (file) => {
    assert.match(program.getSourceFile(`${root}${file}`)!.text, /^\/\*\*\n( \*.*\n)*? \* @since \d+\.\d+\.\d+\n \*\//)
  })

  it.each(sourcesOfEntryPoints)("%s: every export has a comment, a category and a version", (file) => {
    for (const { name, target } of exportsOf(file)) {
      const tags = checker.getJsDocTagsOfSymbol(target).map(({ name }) => name)
      assert.isNotEmpty(commentOf(target), name)
      assert.include(tags, "since", name)
      // The index gives some modules a name that is a type, too.
      if (file !== "src/index.ts" || !/^[A-Z]/.test(name)) assert.include(tags, "category", name)
    }
  })

  it.each(sourcesOfEntryPoints)("%s: every field has a comment", (file) => {
    const missing = exportsOf(file).flatMap(({ name, target }) =>
      undocumentedFields(target).map((field) => `${name}.${field.name}`)
    )
    assert.deepStrictEqual(missing, [])
  })
})
