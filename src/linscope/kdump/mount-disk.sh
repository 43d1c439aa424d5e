mount_disk() { # source kind options point; a disk may take half a minute to appear
    for second in $($bb seq 30); do
        case $1 in
            UUID=*) device=$($bb findfs "$1" 2> /dev/null) ;;
            *) device=$1 ;;
        esac
        [ -n "$device" ] && $bb mount -t "$2" -o "$3" "$device" "$4" 2> /dev/null && return
        $bb sleep 1
    done
    echo "linscope kdump: cannot mount $1 on $4"
    echo "$away" > /proc/sysrq-trigger
    $bb sleep 10
}
