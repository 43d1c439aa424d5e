// Probes of kernel functions, of one process: kprobe, kretprobe, fentry, fexit.  For kernels that allow them.
#include <linux/bpf.h>
#include <linux/ptrace.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

const volatile __u32 wanted_tgid = 0;
__u64 by_kprobe = 0, by_kretprobe = 0, by_fentry = 0, by_fexit = 0, by_many = 0, by_syscall = 0;
long result = 0;

static int mine(void)
{
	return bpf_get_current_pid_tgid() >> 32 == wanted_tgid;
}

SEC("kprobe/vfs_read")
int BPF_KPROBE(on_kprobe)
{
	by_kprobe += mine();
	return 0;
}

SEC("kretprobe/vfs_read")
int BPF_KRETPROBE(on_kretprobe, long ret)
{
	if (mine()) {
		by_kretprobe += 1;
		result = ret;
	}
	return 0;
}

SEC("ksyscall/getppid")
int on_syscall(struct pt_regs *ctx)
{
	by_syscall += mine();
	return 0;
}

SEC("fentry/vfs_read")
int on_fentry(void *ctx)
{
	by_fentry += mine();
	return 0;
}

SEC("fexit/vfs_read")
int on_fexit(void *ctx)
{
	by_fexit += mine();
	return 0;
}

SEC("?kprobe.multi/vfs_re*")
int on_many(void *ctx)
{
	by_many += mine();
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
