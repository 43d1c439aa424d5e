// Types that the kernel's can stand for, and of which some match in all that they have.
#include <linux/bpf.h>
#include <stdbool.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>

struct list_head___same {
	struct list_head___same *next, *prev;
};

struct list_head___less {
	struct list_head___other *prev;
};

struct list_head___number {
	int next;
};

struct list_head___more {
	struct list_head___more *next, *no_such_member;
};

struct task_struct___short {
	char comm[15];
};

struct task_struct___unsigned {
	unsigned int pid;
};

struct task_struct___some {
	int pid, tgid;
	struct list_head___less tasks;
	struct mm_struct *mm;
	void *stack;
};

enum pid_type___less { PIDTYPE_TGID___less };
enum pid_type___more { PIDTYPE_PID___more, NO_SUCH_PIDTYPE };

typedef int pid_t___same;
typedef unsigned int pid_t___unsigned;
typedef long pid_t___long;

const volatile __u32 mark = 0;
__u32 same = 9, less = 9, number = 9, more = 9, too_short = 9, not_signed = 9, some = 9, less_values = 9;
__u32 more_values = 9, same_name = 9, unsigned_name = 9, long_name = 9;

SEC("socket")
int look(struct __sk_buff *skb)
{
	same = bpf_core_type_exists(struct list_head___same);
	less = bpf_core_type_exists(struct list_head___less);
	number = bpf_core_type_exists(struct list_head___number);
	more = bpf_core_type_exists(struct list_head___more);
	too_short = bpf_core_type_exists(struct task_struct___short);
	not_signed = bpf_core_type_exists(struct task_struct___unsigned);
	some = bpf_core_type_exists(struct task_struct___some);
	less_values = bpf_core_type_exists(enum pid_type___less);
	more_values = bpf_core_type_exists(enum pid_type___more);
	same_name = bpf_core_type_exists(pid_t___same);
	unsigned_name = bpf_core_type_exists(pid_t___unsigned);
	long_name = bpf_core_type_exists(pid_t___long);
	return mark;
}

char LICENSE[] SEC("license") = "GPL";
