// Every kind of CO-RE relocation, on types that are declared here by a few of their members.
#include <linux/bpf.h>
#include <stdbool.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>

#define FOLLOW __attribute__((preserve_access_index))

enum pid_type { PIDTYPE_PID, PIDTYPE_TGID, PIDTYPE_WRONG___mine = 77 };
enum no_such_enum { NO_SUCH_VALUE = 3 };

struct list_head {
	struct list_head *next, *prev;
} FOLLOW;

struct mm_struct {
	unsigned long start_stack;
} FOLLOW;

// members in another order than the kernel's
struct task_struct {
	char comm[16];
	int tgid;
	int pid;
	struct task_struct *group_leader;
	struct mm_struct *mm;
	struct list_head tasks;
	unsigned sched_reset_on_fork : 1;
	unsigned in_execve : 1;
} FOLLOW;

// what the kernel has not
struct task_struct___past {
	long no_such_member;
	int pid;
	unsigned long tgid;
} FOLLOW;

struct no_such_struct {
	int x;
} FOLLOW;

struct list_head___two {
	struct list_head___two *prev;
} FOLLOW;

typedef int pid_t___mine;
typedef int pid_t;

const volatile __u32 wanted_tgid = 0;
__u32 done = 0;
__u32 pid = 0, tgid = 0, leader_pid = 0;
char comm[16] = {};
__u64 start_stack = 0;
__u32 offset_of_comm = 0, size_of_comm = 0, offset_of_next = 99, offset_of_prev = 0, offset_of_third = 0;
__u32 pid_is_signed = 0, pointer_is_signed = 99;
__u32 has_comm = 0, has_past = 99, has_task = 0, has_none = 99, size_of_task = 0, size_of_none = 99;
__u32 has_list = 0, matches_list = 0, matches_past = 99;
__u32 target_id = 0, local_id = 0;
__u32 has_pidtype = 0, pidtype_tgid = 99, has_no_value = 99, has_wrong = 99;
__u32 reset_on_fork = 99, bitfield_size = 0;
__u32 guarded = 0;

SEC("raw_tp/sys_enter")
int look(void *ctx)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	struct task_struct___past *past = (void *)task;

	if (bpf_get_current_pid_tgid() >> 32 != wanted_tgid || done)
		return 0;
	pid = BPF_CORE_READ(task, pid);
	tgid = BPF_CORE_READ(task, tgid);
	leader_pid = BPF_CORE_READ(task, group_leader, pid);
	start_stack = BPF_CORE_READ(task, mm, start_stack);
	BPF_CORE_READ_STR_INTO(&comm, task, comm);
	offset_of_comm = __builtin_preserve_field_info(task->comm, BPF_FIELD_BYTE_OFFSET);
	size_of_comm = bpf_core_field_size(task->comm);
	offset_of_next = __builtin_preserve_field_info(task->tasks.next, BPF_FIELD_BYTE_OFFSET);
	offset_of_prev = __builtin_preserve_field_info(task->tasks.prev, BPF_FIELD_BYTE_OFFSET);
	offset_of_third = __builtin_preserve_field_info(task->comm[3], BPF_FIELD_BYTE_OFFSET);
	pid_is_signed = __builtin_preserve_field_info(task->pid, BPF_FIELD_SIGNED);
	has_comm = bpf_core_field_exists(task->comm);
	has_past = bpf_core_field_exists(past->no_such_member);
	has_task = bpf_core_type_exists(struct task_struct);
	has_none = bpf_core_type_exists(struct no_such_struct);
	size_of_task = bpf_core_type_size(struct task_struct);
	size_of_none = bpf_core_type_size(struct no_such_struct);
	has_list = bpf_core_type_exists(struct list_head___two);
	target_id = bpf_core_type_id_kernel(struct task_struct);
	local_id = bpf_core_type_id_local(struct task_struct);
	has_pidtype = bpf_core_enum_value_exists(enum pid_type, PIDTYPE_TGID);
	pidtype_tgid = bpf_core_enum_value(enum pid_type, PIDTYPE_TGID);
	has_wrong = bpf_core_enum_value_exists(enum pid_type, PIDTYPE_WRONG___mine);
	has_no_value = bpf_core_enum_value_exists(enum no_such_enum, NO_SUCH_VALUE);
	reset_on_fork = BPF_CORE_READ_BITFIELD_PROBED(task, sched_reset_on_fork);
	bitfield_size = __builtin_preserve_field_info(task->in_execve, BPF_FIELD_BYTE_SIZE);
	if (bpf_core_field_exists(past->no_such_member)) {
		// nothing leads here in a kernel without the member: the read is made one that is refused
		long value = 0;
		bpf_core_read(&value, sizeof(value), &past->no_such_member);
		guarded = value + 1;
	}
	done = 1;
	return 0;
}

// loads and stores of the context itself, by offset
SEC("tp_btf/sched_switch")
int BPF_direct(__u64 *ctx)
{
	struct task_struct *next = (void *)ctx[2];

	return next->pid == -1;
}

char LICENSE[] SEC("license") = "GPL";
