// Probes in a program: a function's entry and return with their values, and a USDT probe with its arguments.
#include <linux/bpf.h>
#include <linux/ptrace.h>
#include <stdbool.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include <bpf/usdt.bpf.h>

__u64 entered = 0, returned = 0, last_argument = 0, last_result = 0, probed = 0, first_value = 0, second_value = 0;
__u64 cookie = 0;

SEC("uprobe")
int BPF_KPROBE(on_entry, long argument)
{
	__sync_fetch_and_add(&entered, 1);
	last_argument = argument;
	cookie = bpf_get_attach_cookie(ctx);
	return 0;
}

SEC("uretprobe")
int BPF_KRETPROBE(on_return, long result)
{
	__sync_fetch_and_add(&returned, 1);
	last_result = result;
	return 0;
}

SEC("usdt")
int BPF_USDT(on_probe, long first, long second)
{
	__sync_fetch_and_add(&probed, 1);
	first_value = first;
	second_value = second;
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
