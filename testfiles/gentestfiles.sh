#!/bin/sh
# Write files of random bytes beside this script, for visitors who measure throughput.
set -eu

mib=1048576 # bytes
program=gentestfiles.sh
temporary=
writer=

usage() {
    cat <<END
Usage: $program [MB]...

Write files of random bytes beside this script: 25MB.test, 50MB.test and
100MB.test, or those of the sizes that you name. One MB is $mib bytes.
A file that is there in its whole size is left as it is.
END
}

fail() { # STATUS MESSAGE
    echo "$program: $2" >&2
    exit "$1"
}

is_whole() { # FILE MB
    [ -f "$1" ] && [ "$(wc -c <"$1")" -eq "$(($2 * mib))" ]
}

clean_up() {
    [ -z "$writer" ] || kill "$writer" 2>/dev/null || :
    [ -z "$temporary" ] || rm -f "$temporary"
}

# What a killed run has left behind; the number at the end is the process that wrote it.
remove_leftovers() {
    for old in .*MB.test.[0-9]*; do
        if [ -f "$old" ] && [ ! -d "/proc/${old##*.}" ]; then
            rm -f "$old"
        fi
    done
}

check_space() { # MB...
    needed=0
    for mb; do
        is_whole "${mb}MB.test" "$mb" || needed=$((needed + mb * mib / 1024))
    done
    free=$(df -Pk . | awk 'NR == 2 { print $4 }')
    [ "$needed" -le "$free" ] || fail 1 "$(((needed - free + 1023) / 1024)) MB are lacking in $PWD:\
 the files need $((needed / 1024)) MB, and $((free / 1024)) MB are free."
}

write_file() { # MB
    name="${1}MB.test"
    if is_whole "$name" "$1"; then
        echo "$name is there."
        return
    fi
    [ ! -d "$name" ] || fail 1 "$PWD/$name is a folder."
    temporary=".$name.$$"
    # In the background, for a shell answers a signal only when its foreground command has ended.
    head -c "$(($1 * mib))" /dev/urandom >"$temporary" &
    writer=$!
    wait "$writer" || fail 1 "$PWD/$name cannot be written."
    writer=
    is_whole "$temporary" "$1" || fail 1 "$PWD/$name cannot be written in its whole size."
    chmod 644 "$temporary" # the web server reads it as another user
    mv -f "$temporary" "$name"
    temporary=
    echo "$name is written."
}

for argument; do
    case $argument in
        -h | --help) usage && exit ;;
        '' | *[!0-9]* | 0* | ??????*) usage >&2 && exit 2 ;; # up to 99999 MB
    esac
done
[ $# -gt 0 ] || set -- 25 50 100

trap clean_up EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM
cd -- "$(dirname -- "$0")"
remove_leftovers
check_space "$@"
for size; do
    write_file "$size"
done
