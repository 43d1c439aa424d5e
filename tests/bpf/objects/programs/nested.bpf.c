// Maps in a map and programs in a map, put there by the object itself.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct inner {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
};

struct inner first SEC(".maps"), second SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 4);
	__type(key, __u32);
	__array(values, struct inner);
} outer SEC(".maps") = {
	.values = { [1] = &first, [3] = &second },
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH_OF_MAPS);
	__uint(max_entries, 4);
	__type(key, __u64);
	__array(values, struct inner);
} by_hash SEC(".maps");

int leaf_one(struct __sk_buff *skb), leaf_two(struct __sk_buff *skb);

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 3);
	__uint(key_size, sizeof(__u32));
	__array(values, int(void *));
} leaves SEC(".maps") = {
	.values = { [0] = (void *)&leaf_one, [2] = (void *)&leaf_two },
};

SEC("socket")
int leaf_one(struct __sk_buff *skb)
{
	return 111;
}

SEC("socket")
int leaf_two(struct __sk_buff *skb)
{
	return 222;
}

SEC("socket")
int branch(struct __sk_buff *skb)
{
	__u32 which = skb->len & 3, zero = 0;
	void *map = bpf_map_lookup_elem(&outer, &which);
	__u64 *value;

	if (map) {
		value = bpf_map_lookup_elem(map, &zero);
		if (value)
			*value += skb->len;
	}
	bpf_tail_call(skb, &leaves, which);
	return 5;
}

char LICENSE[] SEC("license") = "GPL";
