#!/usr/bin/env node
/** The command line `redsync`. */
import { main } from "./cli/main.ts"

main(process.argv.slice(2))
