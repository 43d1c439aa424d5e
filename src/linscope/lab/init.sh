#!/bin/busybox sh
# The guest's first process: modules, this machine's files under an overlay, kernel file systems; then the agent.
# The kernel command line tells: lab.root=virtiofs|9p, lab.modules=FOLDER (host's), lab.share=FOLDER, lab.hostname=NAME.
export PATH=/bin
/bin/busybox mkdir -p /proc /sys /lower /rw /new
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
for module in /modules/*.ko; do
    [ -e "$module" ] && insmod "$module"
done
root=virtiofs modules= share= hostname=lab
for word in $(cat /proc/cmdline); do
    case $word in
        lab.root=*) root=${word#*=} ;;
        lab.modules=*) modules=${word#*=} ;;
        lab.share=*) share=${word#*=} ;;
    esac
done
mount_host() { # tag folder options
    if [ "$root" = 9p ]; then
        mount -t 9p -o "trans=virtio,version=9p2000.L,msize=262144,$3" "$1" "$2"
    else
        mount -t virtiofs -o "$3" "$1" "$2"
    fi
}
mount_host root /lower ro || { echo "lab: cannot mount the host's files"; echo o > /proc/sysrq-trigger; sleep 9; }
mount -t tmpfs -o size=75% tmpfs /rw
mkdir /rw/upper /rw/work
mount -t overlay -o lowerdir=/lower,upperdir=/rw/upper,workdir=/rw/work overlay /new
mkdir -p /new/proc /new/sys /new/dev /new/run
mount -t tmpfs tmpfs /new/run
mkdir /new/run/lab
cp /bin/busybox /agent /new/run/lab/
if [ -n "$modules" ]; then
    mkdir -p /new/lib/modules
    mkdir "/new/lib/modules/$(uname -r)"
    mount --bind "/new$modules" "/new/lib/modules/$(uname -r)"
fi
[ -n "$share" ] && mount_host share "/new$share" rw
mount --move /proc /new/proc
mount --move /sys /new/sys
mount --move /dev /new/dev
mkdir -p /new/dev/pts /new/dev/shm
mount -t devpts devpts /new/dev/pts
mount -t tmpfs tmpfs /new/dev/shm
ln -sf /proc/self/fd /new/dev/fd
ln -sf /proc/self/fd/0 /new/dev/stdin
ln -sf /proc/self/fd/1 /new/dev/stdout
ln -sf /proc/self/fd/2 /new/dev/stderr
mount -t debugfs debugfs /new/sys/kernel/debug
mount -t tracefs tracefs /new/sys/kernel/tracing
mount -t securityfs securityfs /new/sys/kernel/security 2>/dev/null
mount -t bpf bpf /new/sys/fs/bpf 2>/dev/null
mount -t cgroup2 cgroup2 /new/sys/fs/cgroup
hostname linscope-lab
ip link set lo up 2>/dev/null
exec switch_root /new /run/lab/busybox sh /run/lab/agent
