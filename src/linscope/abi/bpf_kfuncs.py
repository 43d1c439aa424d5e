"""What the kernel says of its functions for eBPF programs beyond their prototypes: flags of BTF_ID_FLAGS.

Letters: a KF_ACQUIRE, r KF_RELEASE, n KF_RET_NULL, t KF_TRUSTED_ARGS, c KF_RCU, s KF_SLEEPABLE, d KF_DESTRUCTIVE.
Source: v6.17, kernel/bpf/helpers.c (generic_btf_ids, common_btf_ids), kernel/bpf/cpumask.c, kernel/bpf/map_iter.c,
kernel/trace/bpf_trace.c, fs/bpf_fs_kfuncs.c, net/core/filter.c, mm/bpf_memcontrol.c.  Functions with lists, trees,
iterators, dynptrs and callbacks among their arguments are not listed: the verifier does not follow them.
"""

from __future__ import annotations

KFUNC_FLAGS: dict[str, str] = {
    "bpf_task_acquire": "acn", "bpf_task_release": "r", "bpf_task_from_pid": "an", "bpf_task_from_vpid": "an",
    "bpf_task_under_cgroup": "c", "bpf_task_get_cgroup1": "acn", "bpf_send_signal_task": "t",
    "bpf_cgroup_acquire": "acn", "bpf_cgroup_release": "r", "bpf_cgroup_ancestor": "acn", "bpf_cgroup_from_id": "an",
    "bpf_rcu_read_lock": "", "bpf_rcu_read_unlock": "", "bpf_preempt_disable": "", "bpf_preempt_enable": "",
    "bpf_cpumask_create": "an", "bpf_cpumask_acquire": "at", "bpf_cpumask_release": "r", "bpf_cpumask_first": "c",
    "bpf_cpumask_first_zero": "c", "bpf_cpumask_first_and": "c", "bpf_cpumask_set_cpu": "c",
    "bpf_cpumask_clear_cpu": "c", "bpf_cpumask_test_cpu": "c", "bpf_cpumask_test_and_set_cpu": "c",
    "bpf_cpumask_test_and_clear_cpu": "c", "bpf_cpumask_setall": "c", "bpf_cpumask_clear": "c", "bpf_cpumask_and": "c",
    "bpf_cpumask_or": "c", "bpf_cpumask_xor": "c", "bpf_cpumask_equal": "c", "bpf_cpumask_intersects": "c",
    "bpf_cpumask_subset": "c", "bpf_cpumask_empty": "c", "bpf_cpumask_full": "c", "bpf_cpumask_copy": "c",
    "bpf_cpumask_any_distribute": "c", "bpf_cpumask_any_and_distribute": "c", "bpf_cpumask_weight": "c",
    "bpf_get_task_exe_file": "atn", "bpf_put_file": "r", "bpf_path_d_path": "t", "bpf_map_sum_elem_count": "t",
    "bpf_lookup_user_key": "ans", "bpf_lookup_system_key": "an", "bpf_key_put": "r", "bpf_sock_destroy": "t",
    "crash_kexec": "d", "bpf_strcmp": "", "bpf_strlen": "", "bpf_strnlen": "", "bpf_strchr": "", "bpf_strrchr": "",
    "bpf_strnchr": "", "bpf_strchrnul": "", "bpf_strstr": "", "bpf_strnstr": "", "bpf_strspn": "", "bpf_strcspn": "",
    "bpf_copy_from_user_str": "s", "bpf_get_kmem_cache": "", "bpf_cast_to_kern_ctx": "", "bpf_rdonly_cast": "",
}  # fmt: skip
