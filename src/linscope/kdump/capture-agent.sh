# Runs as process 1 of the capture kernel, in the root file system: capture, then away.
# Lines in front of these set: command (to capture), target (folder), away (b: reboot, o: power off); and define
# mount_disk; target_source is "" when the target is mounted already, else target_kind, target_options, target_point.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root TMPDIR=/run
bb=/run/lab/busybox
log=/run/linscope-kdump.log
leave() {
    cd /
    $bb sync
    echo 1 > /proc/sys/kernel/sysrq
    echo "$away" > /proc/sysrq-trigger
    $bb sleep 10
    $bb reboot -f
}
if [ ! -e /proc/vmcore ]; then
    echo "linscope kdump: there is no /proc/vmcore: the kernel has no CONFIG_PROC_VMCORE, or nothing has crashed"
    leave
fi
[ -n "$target_source" ] && mount_disk "$target_source" "$target_kind" "$target_options" "$target_point"
eval "$command" > $log 2>&1
code=$?
$bb cat $log
if [ $code -ne 0 ]; then
    echo "linscope kdump: the capture ended with $code; trying makedumpfile"
    $bb mkdir -p "$target"
    $bb cp $log "$target/linscope-kdump.log"
    makedumpfile -l -d 31 /proc/vmcore "$target/vmcore.makedumpfile"
fi
leave
