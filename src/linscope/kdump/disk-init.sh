# First process of a capture kernel whose root is on a disk: modules, the root file system, then the agent.
# Lines in front of these set: away, root_source, root_kind, root_options; and define mount_disk.
export PATH=/bin
bb=/bin/busybox
$bb mkdir -p /proc /sys /new
$bb mount -t proc proc /proc
$bb mount -t sysfs sysfs /sys
$bb mount -t devtmpfs devtmpfs /dev
for module in /modules/*.ko; do
    [ -e "$module" ] && $bb insmod "$module"
done
mount_disk "$root_source" "$root_kind" "$root_options" /new
$bb mount --move /proc /new/proc
$bb mount --move /sys /new/sys
$bb mount --move /dev /new/dev
$bb mount -t tmpfs tmpfs /new/run
$bb mkdir /new/run/lab
$bb cp /bin/busybox /agent /new/run/lab/
exec $bb switch_root /new /run/lab/busybox sh /run/lab/agent
