// Sections of variables, settings and symbols of the kernel.
#include <linux/bpf.h>
#include <stdbool.h>
#include <bpf/bpf_helpers.h>

struct pair {
	int left;
	long right;
};

int in_data = 7;
static int hidden_in_data = 8;
long in_bss;
struct pair pair = { .left = 1, .right = 2 };
const volatile int in_rodata = 9;
const char text[] = "constant";
int custom SEC(".data.custom") = 10;
int twice[4] SEC(".data.custom") = { 1, 2, 3, 4 };
const int more SEC(".rodata.more") = 11;

extern int LINUX_KERNEL_VERSION __kconfig;
extern bool LINUX_HAS_BPF_COOKIE __kconfig __weak;
extern int CONFIG_HZ __kconfig;
extern enum libbpf_tristate CONFIG_BPF_SYSCALL __kconfig;
extern bool CONFIG_NO_SUCH_THING __kconfig __weak;
extern char CONFIG_CC_VERSION_TEXT[16] __kconfig;

extern const void _stext __ksym;
extern const void no_such_symbol __ksym __weak;

int version_seen, hz_seen, syscall_seen, missing_seen = 5;
bool cookie_seen;
char compiler_seen[16];
__u64 stext_seen, missing_symbol_seen = 5;
int sum;

SEC("raw_tp/sys_enter")
int touch(void *ctx)
{
	return 0;
}

SEC("socket")
int add(struct __sk_buff *skb)
{
	hidden_in_data += 1;
	sum = in_data + hidden_in_data + in_rodata + custom + more + text[0] + twice[3] + pair.left + pair.right;
	in_bss += 1;
	version_seen = LINUX_KERNEL_VERSION;
	cookie_seen = LINUX_HAS_BPF_COOKIE;
	hz_seen = CONFIG_HZ;
	syscall_seen = CONFIG_BPF_SYSCALL;
	missing_seen = CONFIG_NO_SUCH_THING;
	for (int i = 0; i < 16; i++)
		compiler_seen[i] = CONFIG_CC_VERSION_TEXT[i];
	stext_seen = (__u64)&_stext;
	missing_symbol_seen = (__u64)&no_such_symbol;
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
