/**
 * `npm run pictures`: writes the pictures of the pages to `src/pictures`. With `--record`, runs the demo for its own anew;
 * with `--screen`, also photographs the top of the README, which needs Chromium.
 */
import { writeFileSync } from "node:fs"
import { record } from "./demo/recording.ts"
import { photograph } from "./firstScreen.ts"
import { pictures } from "./pictures.ts"

if (process.argv.includes("--record")) record()
for (const [file, picture] of pictures()) writeFileSync(file, picture)
if (process.argv.includes("--screen")) photograph()
