#!/usr/bin/env node
/** The command line `redsync`. */
import { main } from "./cli/main.ts"
import { keepPipesAsTheyAre } from "./cli/streams.ts"

keepPipesAsTheyAre()
main(process.argv.slice(2))
