// One program at many functions of a program or of the kernel.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

__u64 entered = 0, cookies = 0;
const volatile __u32 wanted_tgid = 0;

SEC("uprobe.multi")
int on_many(void *ctx)
{
	__sync_fetch_and_add(&entered, 1);
	__sync_fetch_and_add(&cookies, bpf_get_attach_cookie(ctx));
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
