// Stack traces, records into a perf event array, and a clock that samples.
#include <linux/bpf.h>
#include <linux/bpf_perf_event.h>
#include <bpf/bpf_helpers.h>

struct {
	__uint(type, BPF_MAP_TYPE_STACK_TRACE);
	__uint(max_entries, 128);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, 127 * sizeof(__u64));
} stacks SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(__u32));
} events SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 128);
	__type(key, __s32);
	__type(value, __u64);
} counts SEC(".maps");

const volatile __u32 wanted_tgid = 0;

SEC("perf_event")
int sample(struct bpf_perf_event_data *ctx)
{
	__u64 one = 1, *count;
	__s32 id;

	if (bpf_get_current_pid_tgid() >> 32 != wanted_tgid)
		return 0;
	id = bpf_get_stackid(ctx, &stacks, BPF_F_USER_STACK);
	if (id < 0)
		return 0;
	count = bpf_map_lookup_elem(&counts, &id);
	if (count)
		__sync_fetch_and_add(count, 1);
	else
		bpf_map_update_elem(&counts, &id, &one, BPF_ANY);
	return 0;
}

SEC("tp/syscalls/sys_enter_getppid")
int on_getppid(void *ctx)
{
	struct {
		__u64 time;
		__u32 tgid, mark;
	} record = { .time = bpf_ktime_get_ns(), .tgid = bpf_get_current_pid_tgid() >> 32, .mark = 0x1234 };

	if (record.tgid == wanted_tgid)
		bpf_perf_event_output(ctx, &events, BPF_F_CURRENT_CPU, &record, sizeof(record));
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
