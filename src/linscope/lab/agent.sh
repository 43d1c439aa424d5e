# Runs in the guest as process 1: takes jobs from the port "control", one a line, and tells how they ended.
#   RUN ID BASE64-OF-A-SHELL-SCRIPT   output goes to the ports "stdout" and "stderr", each closed by the mark
#   KILL ID SIGNAL                    to the job's process group
#   SHELL BASE64                      an interactive one on the second serial line, then power off
#   OFF                               power off
# Answers: READY MARK; EXIT ID CODE.  A port can be opened once only: jobs get pipes.
bb=/run/lab/busybox
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
port() {
    for folder in /sys/class/virtio-ports/*; do
        read -r name < "$folder/name"
        [ "$name" = "$1" ] && echo "/dev/${folder##*/}"
    done
}
off() {
    $bb sync
    echo o > /proc/sysrq-trigger
    while :; do $bb sleep 1; done
}
exec 3<>"$(port control)" 4>"$(port stdout)" 5>"$(port stderr)"
read -r mark < /proc/sys/kernel/random/uuid
$bb mkdir /run/lab/bin && $bb --install -s /run/lab/bin
# By their whole paths: busybox takes its own for a bare name.
defaults="/usr/bin/env --default-signal=INT,QUIT" # a shell without job control makes its background jobs ignore them
$defaults true 2> /dev/null || defaults=
job() {
    cd /run/lab || exit
    echo "$2" | $bb base64 -d > "job-$1"
    $bb mkfifo "out-$1" "err-$1"
    $bb cat < "out-$1" >&4 3>&- 5>&- &
    out=$!
    $bb cat < "err-$1" >&5 3>&- 4>&- &
    err=$!
    $bb setsid $defaults /bin/sh "job-$1" > "out-$1" 2> "err-$1" < /dev/null 3>&- 4>&- 5>&- &
    echo $! > "job-$1.pid"
    wait $!
    code=$?
    wait $out $err
    $bb rm -f "out-$1" "err-$1" "job-$1" "job-$1.pid"
    printf %s "$mark" >&4
    printf %s "$mark" >&5
    echo "EXIT $1 $code" >&3
}
echo "READY $mark" >&3
while read -r verb id data <&3; do
    case $verb in
        RUN) job "$id" "$data" & ;;
        KILL) read -r pid < "/run/lab/job-$id.pid" && kill "-$data" "-$pid" ;;
        SHELL)
            echo "$id" | $bb base64 -d > /run/lab/shell
            $bb setsid -c /bin/sh /run/lab/shell < /dev/ttyS1 > /dev/ttyS1 2>&1 3>&- 4>&- 5>&-
            off ;;
        OFF) off ;;
    esac
done
off
