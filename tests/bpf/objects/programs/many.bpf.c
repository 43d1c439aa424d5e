// Programs whose sections say at which many functions they run: of a program, of the kernel.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

const volatile __u32 wanted_tgid = 0;
__u64 entered = 0, returned = 0, in_kernel = 0, out_of_kernel = 0;

static int mine(void)
{
	return bpf_get_current_pid_tgid() >> 32 == wanted_tgid;
}

SEC("uprobe.multi/libprobed.so:add_*")
int on_entry(void *ctx)
{
	entered += mine();
	return 0;
}

SEC("uretprobe.multi/libprobed.so:add_*")
int on_return(void *ctx)
{
	returned += mine();
	return 0;
}

SEC("kprobe.multi/vfs_rea[dl]*")
int on_kernel_entry(void *ctx)
{
	in_kernel += mine();
	return 0;
}

SEC("kretprobe.multi/vfs_read")
int on_kernel_return(void *ctx)
{
	out_of_kernel += mine();
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
