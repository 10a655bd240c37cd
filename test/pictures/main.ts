/** `npm run pictures`: writes the pictures of the pages to `src/pictures`; with `--record`, runs the demo for its own anew. */
import { writeFileSync } from "node:fs"
import { record } from "./demo/recording.ts"
import { pictures } from "./pictures.ts"

if (process.argv.includes("--record")) record()
for (const [file, picture] of pictures()) writeFileSync(file, picture)
