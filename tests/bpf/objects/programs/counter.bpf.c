// A hash counter on a raw tracepoint, of one process: globals that the loader sets, atomic adds.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct key {
	__u32 tgid;
	__u32 nr;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, struct key);
	__type(value, __u64);
} calls SEC(".maps");

const volatile __u32 wanted_tgid = 0;
__u64 total = 0;
int last_nr = -1;

SEC("raw_tp/sys_enter")
int count_calls(struct bpf_raw_tracepoint_args *ctx)
{
	__u32 tgid = bpf_get_current_pid_tgid() >> 32;
	struct key key = { .tgid = tgid, .nr = ctx->args[1] };
	__u64 one = 1, *value;

	if (tgid != wanted_tgid)
		return 0;
	value = bpf_map_lookup_elem(&calls, &key);
	if (value)
		__sync_fetch_and_add(value, 1);
	else
		bpf_map_update_elem(&calls, &key, &one, BPF_NOEXIST);
	__sync_fetch_and_add(&total, 1);
	last_nr = key.nr;
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
