/**
 * The beginning of the program. Node takes away part of what a process inherits before
 * any script runs: ignored signals are no longer ignored, and the soft limit on open files
 * is raised to the hard limit. The program therefore begins as a shell script, which notes
 * these and then executes Node, for which the script is a comment.
 */
export const launcher = `#!/usr/bin/env sh
":" /*
# A closed descriptor must stay unusable: Node would open it as /dev/null, where output is lost silently.
true 2> /dev/null 9<&0 || exec 0> /dev/null
true 2> /dev/null 9>&1 || exec 1< /dev/null
true 9>&2 || exec 2< /dev/null
# Only the command of "run" has to inherit everything unchanged.
case " $* " in *" run "*)
  # In a namespace of its own, /proc may show the processes of another.
  self=
  [ ! -r /proc/self/stat ] || read -r self rest < /proc/self/stat
  ignored= names=QUIT
  if [ "$self" = $$ ]; then
    while read -r key value; do
      [ "$key" != SigIgn: ] || ignored=$value
    done < /proc/$$/status
  else
    names="HUP INT QUIT PIPE TERM USR1 USR2 TSTP"
  fi
  # A shell cannot trap a signal that was ignored when it was started. Some ignore SIGQUIT themselves.
  for name in $names; do
    heard=
    trap heard=yes "$name"
    kill -s "$name" $$
    trap - "$name"
    [ "$heard" ] || ignored=$ignored,$name
  done
  # The descriptors that another program would inherit, without the one that this script is read from.
  descriptors=$(exec /bin/sh -c 'for it in /dev/fd/[0-9]*; do [ ! -e "$it" ] || echo "$it"; done')
  # Some shells drop variables whose names are not valid in a shell.
  dropped=
  if [ "$self" = $$ ]; then
    dropped=$(PATH=$PATH:/usr/bin:/bin; tr '\\0\\n' '\\n\\1' < /proc/$$/environ | LC_ALL=C grep -v '^[A-Za-z_][A-Za-z0-9_]*=')
  fi
  REDSYNC_LAUNCH="$$|$ignored|$(ulimit -S -n)|$descriptors"
  export REDSYNC_LAUNCH
  # One variable for each: all of them together may exceed the length of one.
  set -f
  IFS='
'
  count=0
  for variable in $dropped; do
    count=$((count + 1))
    export "REDSYNC_LAUNCH_$count=$variable"
  done
esac
# A small heap for young objects: the program creates little garbage.
exec node --max-semi-space-size=2 "$0" "$@"
*/
`
