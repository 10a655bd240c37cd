/**
 * The flags of the commands for development.
 */
import { readFileSync } from "node:fs"
import { fileURLToPath } from "node:url"
import { parseArgs, type ParseArgsConfig } from "node:util"

/**
 * What the command in this file is given. `--help` prints the comment at the top of the file, and a flag
 * that it does not know ends it with a line and the exit code 2.
 */
export const parseFlags = <const T extends ParseArgsConfig>(file: string, config: T) => {
  if (process.argv.includes("--help")) {
    console.log(headOf(readFileSync(fileURLToPath(file), "utf8")))
    process.exit(0)
  }
  try {
    return parseArgs(config)
  } catch (error) {
    const [reason] = (error as Error).message.split(". ")
    console.error(`${reason}. --help lists the flags`)
    process.exit(2)
  }
}

/** The first comment, without its frame. */
const headOf = (source: string): string =>
  source.slice(source.indexOf("/**") + 3, source.indexOf("*/")).replaceAll(/^ *\* ?/gm, "").trim()
