/**
 * `npm run docs`: the API reference, from the doc comments of all entry points, in
 * `docs/`. Fails if an export has none.
 *
 * typedoc needs an older TypeScript than the project has, so both are installed in a
 * temporary directory. There, too, the sources get the tag by which typedoc knows the
 * comment of a module, with the name to import it by.
 */
import { execFileSync, spawnSync } from "node:child_process"
import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { basename, join } from "node:path"
import { fileURLToPath } from "node:url"
import { sourcesOfEntryPoints } from "./support/entryPoints.ts"

const root = fileURLToPath(new URL("..", import.meta.url))
const tool = mkdtempSync(join(tmpdir(), "redsync-reference-"))
process.on("exit", () => rmSync(tool, { recursive: true }))

const project = join(tool, "project")
for (const name of ["src", "package.json", "tsconfig.json", "tsconfig.build.json"]) {
  cpSync(join(root, name), join(project, name), { recursive: true })
}
symlinkSync(join(root, "node_modules"), join(project, "node_modules"))
const entryPoints = sourcesOfEntryPoints.map((source) => join(project, source))
for (const file of entryPoints) {
  const name = join("effect-redsync", basename(file, ".ts")).replace(/\/index$/, "")
  writeFileSync(file, readFileSync(file, "utf8").replace("\n */\n", `\n * @module ${name}\n */\n`))
}

// Errors extend an expression, which would be printed with each of their properties.
const plugin = join(tool, "plugin.mjs")
writeFileSync(
  plugin,
  `export const load = ({ converter }) =>
    converter.on("resolveEnd", ({ project }) => {
      for (const reflection of Object.values(project.reflections)) {
        for (const key of ["overwrites", "inheritedFrom"]) {
          if (reflection[key]?.name.startsWith("untraced(")) delete reflection[key]
        }
      }
    }, -1000)`
)

const optionsFile = join(tool, "typedoc.json")
writeFileSync(
  optionsFile,
  JSON.stringify({
    name: "effect-redsync",
    entryPoints,
    tsconfig: join(project, "tsconfig.build.json"),
    out: join(root, "docs"),
    readme: "none",
    plugin: [plugin],
    disableSources: true,
    excludePrivate: true,
    excludeExternals: true,
    categorizeByGroup: false,
    defaultCategory: "exported by name",
    blockTags: ["@category", "@default", "@module", "@param", "@returns", "@see", "@since", "@stability"],
    validation: { invalidLink: false, notExported: false, notDocumented: true },
    requiredToBeDocumented: ["Module", "Namespace", "Class", "Interface", "TypeAlias", "Function", "Variable"],
    treatValidationWarningsAsErrors: true
  })
)
writeFileSync(join(tool, "package.json"), "{}")
const npm = ["install", "--no-audit", "--no-fund", "--loglevel=error", "typedoc@0.28.20", "typescript@6.0.3"]
execFileSync("npm", npm, { cwd: tool, stdio: "inherit" })
const typedoc = join(tool, "node_modules/typedoc/bin/typedoc")
const { status } = spawnSync(process.execPath, [typedoc, "--options", optionsFile], { stdio: "inherit" })
process.exitCode = status ?? 1
