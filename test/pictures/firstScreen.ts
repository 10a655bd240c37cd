/**
 * `npm run pictures -- --screen`: what a visitor sees of the README first, in light and in dark colours, as Chromium shows it.
 * `CHROMIUM` names the program if it is not `chromium`.
 */
import { marked } from "marked"
import { execFileSync } from "node:child_process"
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { createRequire } from "node:module"
import { tmpdir } from "node:os"
import { fileURLToPath, pathToFileURL } from "node:url"
import { readPage, root } from "../support/pages.ts"

const size = { width: 1012, height: 1080 }

const page = (scheme: "dark" | "light", css: string): string =>
  `<!doctype html>
<base href="${pathToFileURL(root).href}">
<meta charset="utf-8">
<meta name="color-scheme" content="${scheme}">
<style>${css} body { margin: 0; padding: 32px; color-scheme: ${scheme} }</style>
<body class="markdown-body">${marked.parse(readPage("README.md"), { async: false })}`

export const photograph = (): void => {
  const { resolve } = createRequire(import.meta.url)
  const directory = mkdtempSync(`${tmpdir()}/effect-redsync-screen-`)
  try {
    for (const scheme of ["light", "dark"] as const) {
      const file = `${directory}/${scheme}.html`
      writeFileSync(
        file,
        page(scheme, readFileSync(resolve(`github-markdown-css/github-markdown-${scheme}.css`), "utf8"))
      )
      execFileSync(process.env["CHROMIUM"] ?? "chromium", [
        "--headless",
        "--no-sandbox",
        "--hide-scrollbars",
        "--allow-file-access-from-files",
        `--blink-settings=preferredColorScheme=${scheme === "dark" ? 0 : 1}`,
        `--window-size=${size.width},${size.height}`,
        // One frame of the demo, as for readers who want no motion.
        "--force-prefers-reduced-motion",
        `--screenshot=${fileURLToPath(new URL(`first-screen-${scheme}.png`, import.meta.url))}`,
        pathToFileURL(file).href
      ], { stdio: ["ignore", "ignore", "inherit"] })
    }
  } finally {
    rmSync(directory, { recursive: true })
  }
}
