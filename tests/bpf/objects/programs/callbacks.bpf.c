// Subprograms, static and global, called by several programs in another order; callbacks.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 8);
	__type(key, __u32);
	__type(value, __u64);
} numbers SEC(".maps");

__u64 looped = 0, visited = 0;

static __attribute__((noinline)) int twice(int x)
{
	return x * 2;
}

__attribute__((noinline)) int plus_twice(int x, int y)
{
	return x + twice(y);
}

static __attribute__((noinline)) int thrice(int x)
{
	return twice(x) + x;
}

__hidden __attribute__((noinline)) int hidden_global(int x)
{
	return thrice(x) + 1;
}

static long on_loop(__u32 index, void *context)
{
	__u64 *sum = context;

	*sum += twice(index);
	return 0;
}

struct bpf_map;

static long on_element(struct bpf_map *map, __u32 *key, __u64 *value, __u64 *sum)
{
	*sum += *value;
	*value += *key;
	return 0;
}

SEC("socket")
int first(struct __sk_buff *skb)
{
	return plus_twice(skb->len, thrice(5));
}

SEC("socket")
int second(struct __sk_buff *skb)
{
	__u64 sum = 0;

	bpf_loop(10, on_loop, &sum, 0);
	looped = sum;
	sum = 0;
	bpf_for_each_map_elem(&numbers, on_element, &sum, 0);
	visited = sum;
	return hidden_global(7);
}

char LICENSE[] SEC("license") = "GPL";
