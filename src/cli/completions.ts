/**
 * `redsync completions`: a shell completion script for the command line.
 */
import * as Argument from "effect/cli/Argument"
import * as Cli from "effect/cli/Command"
import * as Completions from "effect/cli/Completions"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"

/** Takes the root command, which contains this one. */
export const completions = (root: () => Cli.Command.Any) =>
  Cli.make(
    "completions",
    {
      shell: Argument.Literals("shell", ["bash", "zsh", "fish", "powershell"]).pipe(
        Argument.withDescription("The shell that the script is for")
      )
    },
    ({ shell }) =>
      Effect.suspend(() => Console.log(Completions.generate("redsync", shell, Completions.fromCommand(root()))))
  ).pipe(
    Cli.withDescription("Prints a shell completion script, to be sourced by the shell."),
    Cli.withShortDescription("Prints a shell completion script."),
    Cli.withExamples([
      { command: "source <(redsync completions bash)", description: "In ~/.bashrc" },
      { command: "redsync completions zsh > \"${fpath[1]}/_redsync\"", description: "Once, for zsh" },
      { command: "redsync completions fish | source", description: "In ~/.config/fish/config.fish" }
    ])
  )
