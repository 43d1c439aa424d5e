// What does not fit the kernel's types becomes instructions that the verifier refuses; loaded only when asked for.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct task_struct___past {
	long no_such_member;
	int pid;
	unsigned long tgid;
} __attribute__((preserve_access_index));

// the size of a member is another than the kernel's: to read it so would be wrong
SEC("?tp_btf/sched_switch")
int wrong_size(__u64 *ctx)
{
	struct task_struct___past *next = (void *)ctx[2];

	return next->tgid == 1;
}

// no member, and no guard
SEC("?tp_btf/sched_switch")
int no_guard(__u64 *ctx)
{
	struct task_struct___past *next = (void *)ctx[2];

	return next->no_such_member == 1;
}

SEC("raw_tp/sys_enter")
int fine(void *ctx)
{
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
