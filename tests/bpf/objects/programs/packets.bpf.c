// XDP, traffic control and socket filters over the bytes of packets; a cgroup program.
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_endian.h>

__u64 udp_bytes = 0;

SEC("xdp")
int drop_udp(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct ethhdr *ethernet = data;
	struct iphdr *ip = data + sizeof(*ethernet);

	if ((void *)(ip + 1) > end || ethernet->h_proto != bpf_htons(ETH_P_IP))
		return XDP_PASS;
	if (ip->protocol != 17)
		return XDP_PASS;
	udp_bytes += end - data;
	return XDP_DROP;
}

SEC("tc")
int mark(struct __sk_buff *skb)
{
	__u8 first;

	if (bpf_skb_load_bytes(skb, 14, &first, 1))
		return 2;
	skb->mark = first;
	return 0;
}

SEC("socket")
int keep_ten(struct __sk_buff *skb)
{
	return 10;
}

SEC("cgroup_skb/egress")
int count_out(struct __sk_buff *skb)
{
	__sync_fetch_and_add(&udp_bytes, skb->len);
	return 1;
}

char LICENSE[] SEC("license") = "GPL";
