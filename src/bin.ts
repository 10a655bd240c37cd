#!/usr/bin/env node
/**
 * The command line `redsync`.
 *
 * Only a start: what it imports is compiled once and cached by Node, which
 * halves the time until a command runs.
 */
import * as module from "node:module"

// Node 22.8 and up. Where there is no place for a cache it does nothing.
module.enableCompileCache?.()
await import("./cli/main.ts")
