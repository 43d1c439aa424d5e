// Per-CPU maps, LRU, queue, stack, bloom filter and longest-prefix match, by a program that is run with packets.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct prefix {
	__u32 length;
	__u8 address[4];
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, 64);
	__type(key, __u32);
	__type(value, __u64);
} by_length SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} runs SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 128);
	__type(key, __u64);
	__type(value, __u64);
} recent SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_QUEUE);
	__uint(max_entries, 8);
	__type(value, __u32);
} waiting SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_STACK);
	__uint(max_entries, 8);
	__type(value, __u32);
} pile SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_BLOOM_FILTER);
	__uint(max_entries, 100);
	__uint(map_extra, 3);
	__type(value, __u32);
} seen SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, 16);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct prefix);
	__type(value, __u32);
} routes SEC(".maps");

SEC("socket")
int account(struct __sk_buff *skb)
{
	__u32 length = skb->len, zero = 0, *run;
	__u64 one = 1, *count, key = length;
	struct prefix address = { .length = 32, .address = { 10, 1, 2, 3 } };
	__u32 *route;

	count = bpf_map_lookup_elem(&by_length, &length);
	if (count)
		*count += 1;
	else
		bpf_map_update_elem(&by_length, &length, &one, BPF_ANY);
	run = bpf_map_lookup_elem(&runs, &zero);
	if (run)
		*run += 1;
	bpf_map_update_elem(&recent, &key, &one, BPF_ANY);
	bpf_map_push_elem(&waiting, &length, BPF_EXIST);
	bpf_map_push_elem(&pile, &length, BPF_EXIST);
	bpf_map_push_elem(&seen, &length, BPF_ANY);
	route = bpf_map_lookup_elem(&routes, &address);
	return route ? *route : 0;
}

char LICENSE[] SEC("license") = "GPL";
