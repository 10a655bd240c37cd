/**
 * Why a command cannot be run, if that can be told in advance: otherwise a shell that
 * runs it would report it in its own words.
 */
import { accessSync, constants, statSync } from "node:fs"
import { quoted, untrusted } from "../../internal/base/text.ts"
import { cannotExecute, Failure, notFound } from "../failure.ts"

const reasons: Record<string, string> = {
  E2BIG: "the arguments and the environment are too long",
  EACCES: "permission denied",
  EISDIR: "it is a directory",
  ELOOP: "too many symbolic links",
  ENAMETOOLONG: "the name is too long",
  ENOTDIR: "a component of the path is not a directory",
  ETXTBSY: "the file is open for writing"
}

/** As shells have it: 127 if there is no such command, 126 if it cannot be executed. */
export const cannotRun = (program: string, code: string): Failure => {
  const name = program === "" ? quoted(program) : untrusted(program)
  return code === "ENOENT"
    ? new Failure({ code: notFound, message: `${name}: command not found` })
    : new Failure({ code: cannotExecute, message: `cannot run ${name}: ${reasons[code] ?? code}` })
}

/** Why the program cannot be run, if that can be seen. `path` is the PATH of its environment. */
export const hindrance = (program: string, path: string | undefined): Failure | undefined => {
  if (program === "") return cannotRun(program, "ENOENT")
  if (program.includes("/")) {
    const code = tried(program)
    return code === undefined ? undefined : cannotRun(program, code)
  }
  // Then the system decides where to look for it.
  if (path === undefined) return undefined
  const codes = path.split(":").map((directory) => tried(`${directory || "."}/${program}`))
  if (codes.includes(undefined)) return undefined
  return cannotRun(program, codes.find((code) => code !== "ENOENT" && code !== "ENOTDIR") ?? "ENOENT")
}

const tried = (file: string): string | undefined => {
  try {
    if (statSync(file).isDirectory()) return "EISDIR"
    accessSync(file, constants.X_OK)
    return undefined
  } catch (error) {
    return (error as NodeJS.ErrnoException).code ?? "ENOENT"
  }
}
