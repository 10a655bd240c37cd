/**
 * Ends the command when `redsync` itself no longer can, because it was killed, has
 * crashed or stands still. It is a shell in a session of its own, which sees the end
 * of `redsync` as the end of its input.
 *
 * Its input is a line with the mark and the grace period, then one of these lines for
 * each event; times are in seconds:
 *
 * - `command PID:START` when the command has been started, with its start time as the system counts it
 * - `lease LEFT REST` whenever the lease has been prolonged: unless another line follows, the tree is
 *   asked to end after `LEFT`, and killed `REST` later
 * - `done` when nothing is left to watch
 *
 * It prints a line if it has asked the tree to end.
 */
import { type ChildProcess, spawn } from "node:child_process"

export const script = `
trap '' HUP INT QUIT PIPE TERM TSTP
unset found killer timer
# The PATH of the command may lack the programs that are needed here.
PATH=$PATH:/usr/bin:/bin
# In a namespace of its own, /proc may show the processes of another.
processes=ps
if [ -r /proc/self/stat ]; then
  read -r self rest < /proc/self/stat
  [ "$self" = $$ ] && processes=proc || processes=hidden
elif [ -e /proc/1 ] || ! ps ax > /dev/null 2>&1; then
  processes=hidden
fi
read -r mark grace

# One line for each process, as in Linux' /proc/PID/stat, and another with its path if it has the mark.
list() {
  if [ $processes = proc ]; then
    grep -l -F -e "$mark" /proc/[0-9]*/environ 2> /dev/null
    cat /proc/[0-9]*/stat 2> /dev/null
  elif [ $processes = ps ]; then
    ps axeww -o pid=,ppid=,pgid=,stat=,command= | awk -v mark="$mark" '
      index($0, mark) { print "/proc/" $1 "/environ" }
      { print $1, "(-)", substr($4, 1, 1), $2, $3, $3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 }
    '
  fi
}

# The living processes of the tree, found by the mark, the parent, the group or the session, as PID:START. Where no
# process is visible, those that are known.
tree() {
  list | awk -v found="$found" '
    BEGIN {
      split(found, known, " ")
      for (i in known) { was[known[i]]; split(known[i], parts, ":"); leads[parts[1]] }
    }
    /^\\/proc\\// { split($0, path, "/"); marked[path[3]]; next }
    {
      pid = $1
      sub(/^.*\\) /, "")
      if ($1 ~ /[ZX]/ && $18 <= 1) next
      parent[pid] = $2; group[pid] = $3; session[pid] = $4; start[pid] = $20
    }
    END {
      if (NR == 0) for (process in was) print process
      for (pid in parent) if (pid in marked || (pid ":" start[pid]) in was) { is[pid]; leads[pid] }
      do {
        more = 0
        for (pid in parent) {
          if (!(pid in is) && (parent[pid] in is || group[pid] in leads || session[pid] in leads)) {
            is[pid]; leads[pid]; more = 1
          }
        }
      } while (more)
      for (pid in is) print pid ":" start[pid]
    }
  '
}

# Sends the signal to the whole tree. Fails if no process could receive it.
signal() {
  members=$(tree)
  found="$found $members"
  sent=1
  for member in $members; do kill -s "$1" "\${member%:*}" 2> /dev/null && sent=0; done
  return $sent
}

# Kills the known processes at once: looking for others takes time, and more programs.
kill_known() {
  for member in $found; do
    read -r stat 2> /dev/null < "/proc/\${member%:*}/stat" || continue
    set -- \${stat##*) }
    [ "\${20}" != "\${member#*:}" ] || kill -s KILL "\${member%:*}" 2> /dev/null
  done
}

# Waits for the given number of seconds, in a process that others cancel with SIGALRM.
begin_pause() {
  before=$!
  trap '[ "$!" = "$before" ] || kill -s KILL $! 2> /dev/null; exit' ALRM
  sleep "$1" < /dev/null > /dev/null 2>&1 &
}
end_pause() {
  wait $!
  trap '' ALRM
}

# Asks the tree to end, and kills it after the given number of seconds. Stopped processes are continued only if told so.
end() {
  (
    begin_pause "$1"
    found="$found $(tree)"
    end_pause
    kill_known
    # Where processes are hidden, one that has ended but was not reaped seems to live.
    while signal KILL && [ $processes != hidden ]; do sleep 0.05; done
  ) &
  killer=$!
  if signal TERM; then
    # In a subshell each: a shell that has failed to write never writes again.
    (echo ended) 2> /dev/null
    (echo "redsync: $3" >&2)
    [ -z "$2" ] || signal "$2"
    while signal 0 && kill -s 0 "$killer" 2> /dev/null; do sleep 0.1; done
  fi
  kill -s ALRM "$killer" 2> /dev/null
}

stand_still() {
  begin_pause "$1"
  end_pause
  # If this watchdog was killed, another one is on watch.
  kill -s 0 $$ 2> /dev/null || exit
  end "$2" "" "stood still: terminating the command before the lease ends"
}

while read -r word first second; do
  case $word in
    command) found=$first ;;
    lease)
      [ -z "$timer" ] || kill -s ALRM "$timer" 2> /dev/null
      stand_still "$first" "$second" &
      timer=$!
      ;;
    done)
      kill -s ALRM "$timer" 2> /dev/null
      exit
      ;;
  esac
done
end "$grace" CONT "terminating the command, since redsync itself has died"
kill -s ALRM "$timer" 2> /dev/null
`

const seconds = (millis: number): string => (Math.max(0, millis) / 1000).toFixed(3)

export class Watchdog {
  readonly #mark: string
  readonly #graceMillis: number
  readonly #env: NodeJS.ProcessEnv
  #process: ChildProcess
  #command: string | undefined
  #lease: string | undefined
  /** Whether it has received a lease since it was started: otherwise restarting it would not help. */
  #hasServed = false
  #isDone = false
  #hasActed = false

  /** The environment is that of the command, without the mark. */
  constructor(mark: string, graceMillis: number, env: NodeJS.ProcessEnv) {
    this.#mark = mark
    this.#graceMillis = graceMillis
    this.#env = env
    this.#process = this.#start()
  }

  /** Its process, which does not belong to the tree. */
  get pid(): number | undefined {
    return this.#process.pid
  }

  #start(): ChildProcess {
    this.#hasServed = false
    const process = spawn("/bin/sh", ["-c", script, "redsync-watchdog"], {
      cwd: "/",
      detached: true,
      env: this.#env,
      stdio: ["pipe", "pipe", "inherit"]
    })
    process.stdout.once("data", () => {
      this.#hasActed = true
    })
    process.stdin.on("error", () => {})
    process.stdout.on("error", () => {})
    process.on("error", () => {})
    process.once("exit", () => {
      if (!this.#isDone && this.#hasServed) this.#process = this.#start()
    })
    process.stdin.write(
      [`${this.#mark} ${seconds(this.#graceMillis)}`, this.#command, this.#lease, ""].filter(isLine).join("\n")
    )
    return process
  }

  /** Whether it has asked the tree to end. */
  get hasActed(): boolean {
    return this.#hasActed
  }

  /** The command has been started. */
  watch(pid: number, start: number): void {
    this.#command = `command ${pid}:${start}`
    this.#tell(this.#command)
  }

  /** The tree must be asked to end after `leftMillis`, and be gone `restMillis` later. */
  lease(leftMillis: number, restMillis: number): void {
    this.#lease = `lease ${seconds(leftMillis)} ${seconds(restMillis)}`
    this.#hasServed = true
    this.#tell(this.#lease)
  }

  /** Nothing is left to watch, or the rest may stay. */
  done(): void {
    this.#isDone = true
    this.#tell("done")
    this.#process.stdin!.end()
  }

  #tell(line: string): void {
    this.#process.stdin!.write(`${line}\n`)
  }
}

const isLine = (line: string | undefined): line is string => line !== undefined
