// Records into a ring buffer: reserved and submitted, discarded, and copied.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct event {
	__u64 nr;
	__u32 tgid;
	char comm[16];
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 256 * 1024);
} events SEC(".maps");

const volatile __u32 wanted_tgid = 0;
const volatile __u64 discarded_nr = ~0ULL;
__u64 dropped = 0;

SEC("raw_tp/sys_enter")
int on_enter(struct bpf_raw_tracepoint_args *ctx)
{
	__u32 tgid = bpf_get_current_pid_tgid() >> 32;
	struct event *event;

	if (tgid != wanted_tgid)
		return 0;
	event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);
	if (!event) {
		__sync_fetch_and_add(&dropped, 1);
		return 0;
	}
	event->nr = ctx->args[1];
	event->tgid = tgid;
	bpf_get_current_comm(event->comm, sizeof(event->comm));
	if (event->nr == discarded_nr)
		bpf_ringbuf_discard(event, BPF_RB_NO_WAKEUP);
	else
		bpf_ringbuf_submit(event, BPF_RB_NO_WAKEUP);
	return 0;
}

SEC("raw_tp/sys_exit")
int on_exit(struct bpf_raw_tracepoint_args *ctx)
{
	__u64 result = ctx->args[1];

	if (bpf_get_current_pid_tgid() >> 32 == wanted_tgid)
		bpf_ringbuf_output(&events, &result, sizeof(result), 0);
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
