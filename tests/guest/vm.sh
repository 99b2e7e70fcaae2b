#!/usr/bin/env bash
# Boots the guest that build.sh has made; ./dev vm calls this. See docs/guest.md.
#
#   vm.sh CACHE run [-m MEMORY] [-t SECONDS] [-o RESULTS] [-l MODULE] COMMAND...   run a command in the project's folder
#   vm.sh CACHE shell [-m MEMORY] [-l MODULE]                                      a shell on the guest's console
#
# MODULE is the kernel's security module: apparmor (the default) or selinux.
set -euo pipefail
cache=$1
verb=$2
shift 2
tree=$(readlink -f "$(dirname "$(readlink -f "$0")")/../..")
memory=3G
limit=1800
patience=120
results=
module=apparmor

die() { printf 'vm: %s\n' "$*" >&2; exit 1; }

while getopts m:t:o:l: option; do
    case $option in
        m) memory=$OPTARG ;;
        t) limit=$OPTARG ;;
        o) results=$OPTARG ;;
        l) module=$OPTARG ;;
        *) exit 2 ;;
    esac
done
shift $((OPTIND - 1))

job=$(mktemp -d "${TMPDIR:-/tmp}/crio-vm.XXXXXX")
guest=

# A guest that hangs ends only by SIGKILL; its processes are all in one process group.
finish() {
    trap '' INT TERM HUP
    [ -z "$guest" ] || kill -KILL -- "-$guest" 2>/dev/null || true
    guest=
    [ -z "$results" ] || { mkdir -p "$results" && cp -r "$job/results/." "$results/" 2>/dev/null; } || true
    rm -rf "$job" "$HOME/.uml/$(basename "$job")"
}
trap finish EXIT
trap 'finish; exit 130' INT TERM HUP

# Switches that the guest's kernel gets: the disk is read through a sparse overlay, so that it stays as it was built.
arguments=(
    mem="$memory" ncpus="${CRIO_VM_CPUS:-2}" seccomp=auto umid="$(basename "$job")"
    ubd0="$job/overlay,$cache/disk.img" root=/dev/ubda rw
    security="$module" quiet loglevel=1 systemd.show_status=false
    crio.job="$job" crio.tree="$tree" con=null
)
mkdir -p "$job/results"

# Boots, and waits until the guest is off or `limit` seconds are over. What the job prints comes as it is printed.
# On a busy host a guest may stop, idle, before the job begins or after it ended: that is waited for `patience` seconds.
boot() {
    local begin=$SECONDS printer ended=
    rm -f "$job/begun" "$job/exit"
    : >>"$job/output"
    setsid "$cache/linux" "${arguments[@]}" con0=null,fd:1 console=tty0 </dev/null > >(cat >>"$job/console") 2>&1 &
    guest=$!
    tail -n +"$((printed + 1))" -s 0.2 -f --pid="$guest" "$job/output" &
    printer=$!
    while kill -0 "$guest" 2>/dev/null; do
        if ((SECONDS - begin > limit)); then
            kill -KILL -- "-$guest" 2>/dev/null || true
            wait "$printer" 2>/dev/null || true
            tail -n 20 "$job/console" >&2
            die "the guest was not done after $limit seconds, and was killed"
        fi
        if [ -e "$job/exit" ]; then
            ended=${ended:-$SECONDS}
            ((SECONDS - ended <= patience)) || kill -KILL -- "-$guest" 2>/dev/null || true
        elif [ ! -e "$job/begun" ] && ((SECONDS - begin > patience)); then
            kill -KILL -- "-$guest" 2>/dev/null || true
        fi
        sleep 0.2
    done
    wait "$guest" 2>/dev/null || true
    kill -KILL -- "-$guest" 2>/dev/null || true
    guest=
    wait "$printer" 2>/dev/null || true
    printed=$(wc -l <"$job/output")
}

case $verb in
    run)
        [ $# -gt 0 ] || die "usage: ./dev vm run COMMAND ..."
        { echo ': >/job/begun'; if [ $# = 1 ]; then printf '%s\n' "$1"; else printf '%q ' "$@"; fi; } >"$job/command"
        printed=0
        boots=0
        # A command that ends with 194 wants to be run again after the machine has been booted again.
        while :; do
            boot
            if [ ! -e "$job/begun" ] && ((boots++ < 2)); then
                echo "vm: the guest did not begin the job, and is booted again" >&2
                continue
            fi
            [ -f "$job/exit" ] || { tail -n 20 "$job/console" >&2; die "the guest ended without a result"; }
            code=$(cat "$job/exit")
            [ "$code" = 194 ] || exit "$code"
        done
        ;;
    shell)
        # The console needs the terminal, so the guest stays in this session and process group.
        "$cache/linux" "${arguments[@]}" con0=fd:0,fd:1 console=tty0 crio.shell
        stty sane 2>/dev/null || true
        ;;
    *) die "unknown verb $verb" ;;
esac
