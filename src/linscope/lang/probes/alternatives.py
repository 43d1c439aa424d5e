"""Tracepoints that tell the same as a kernel function's being called, for kernels that put no probe there.

Looked into only when something went wrong.
"""

from __future__ import annotations

import os

from linscope.lang.probes import kernel_names as kernel

# where a system call begins, beside its own functions (arch/x86/include/asm/syscall_wrapper.h): name -> system call
_SYSCALLS = {
    "vfs_read": "read", "vfs_write": "write", "do_sys_open": "openat", "do_sys_openat2": "openat",
    "do_filp_open": "openat", "vfs_open": "openat", "do_nanosleep": "clock_nanosleep",
    "hrtimer_nanosleep": "clock_nanosleep", "vfs_fsync": "fsync", "vfs_unlink": "unlinkat", "vfs_mkdir": "mkdirat",
    "vfs_rename": "renameat2", "vfs_statx": "newfstatat", "inet_csk_accept": "accept4", "tcp_v4_connect": "connect",
    "tcp_v6_connect": "connect", "do_mmap": "mmap", "vm_mmap_pgoff": "mmap", "do_execveat_common": "execve",
    "do_sys_poll": "poll", "do_epoll_wait": "epoll_wait", "do_futex": "futex", "tcp_sendmsg": "sendto",
    "tcp_recvmsg": "recvfrom", "udp_sendmsg": "sendto", "udp_recvmsg": "recvfrom", "do_mprotect_pkey": "mprotect",
    "do_send_sig_info": "kill",
}  # fmt: skip
_PREFIXES = ("__x64_sys_", "__ia32_sys_", "__arm64_sys_", "__se_sys_", "__do_sys_", "ksys_", "__sys_", "sys_")
# functions in which a tracepoint is hit, or that do nothing else; include/trace/events/*.h
_EVENTS = {
    "__schedule": "sched:sched_switch", "schedule": "sched:sched_switch", "finish_task_switch": "sched:sched_switch",
    "try_to_wake_up": "sched:sched_wakeup", "wake_up_process": "sched:sched_wakeup",
    "ttwu_do_wakeup": "sched:sched_wakeup", "wake_up_new_task": "sched:sched_wakeup_new",
    "kernel_clone": "sched:sched_process_fork", "_do_fork": "sched:sched_process_fork",
    "copy_process": "sched:sched_process_fork", "do_exit": "sched:sched_process_exit",
    "bprm_execve": "sched:sched_process_exec", "begin_new_exec": "sched:sched_process_exec",
    "set_task_cpu": "sched:sched_migrate_task", "handle_mm_fault": "exceptions:page_fault_user",
    "do_user_addr_fault": "exceptions:page_fault_user", "exc_page_fault": "exceptions:page_fault_user",
    "__kmalloc": "kmem:kmalloc", "__kmalloc_noprof": "kmem:kmalloc",
    "kmem_cache_alloc_noprof": "kmem:kmem_cache_alloc", "__alloc_pages": "kmem:mm_page_alloc",
    "__alloc_pages_noprof": "kmem:mm_page_alloc", "__free_pages": "kmem:mm_page_free",
    "oom_kill_process": "oom:mark_victim", "submit_bio": "block:block_bio_queue",
    "submit_bio_noacct": "block:block_bio_queue", "blk_account_io_start": "block:block_io_start",
    "__blk_account_io_start": "block:block_io_start", "blk_account_io_done": "block:block_io_done",
    "__blk_account_io_done": "block:block_io_done", "blk_mq_start_request": "block:block_rq_issue",
    "blk_mq_end_request": "block:block_rq_complete", "blk_update_request": "block:block_rq_complete",
    "tcp_set_state": "sock:inet_sock_set_state", "tcp_drop": "skb:kfree_skb", "tcp_drop_reason": "skb:kfree_skb",
    "sk_skb_reason_drop": "skb:kfree_skb", "kfree_skb_reason": "skb:kfree_skb",
    "__netif_receive_skb_core": "net:netif_receive_skb", "__netif_receive_skb": "net:netif_receive_skb",
    "dev_queue_xmit": "net:net_dev_queue", "__dev_queue_xmit": "net:net_dev_queue",
    "dev_hard_start_xmit": "net:net_dev_start_xmit", "__napi_poll": "napi:napi_poll",
    "wb_writeback": "writeback:writeback_start", "get_signal": "signal:signal_deliver",
    "send_signal": "signal:signal_generate", "__send_signal_locked": "signal:signal_generate",
    "do_syscall_64": "raw_syscalls:sys_enter", "__do_softirq": "irq:softirq_entry",
    "handle_softirqs": "irq:softirq_entry", "handle_irq_event_percpu": "irq:irq_handler_entry",
    "process_one_work": "workqueue:workqueue_execute_start", "shrink_node": "vmscan:mm_vmscan_direct_reclaim_begin",
    "add_timer": "timer:timer_start",
}  # fmt: skip


def find_alternative(function: str, *, returns: bool = False) -> str:
    """The tracepoint of the same meaning that this kernel has ("tracepoint:syscalls:sys_enter_read"); "" for none.

    returns: the function's end is meant: of system calls their end.
    """
    name = function.partition(".")[0]
    if name in _EVENTS:
        return _there(*_EVENTS[name].split(":"))
    call = _SYSCALLS.get(name, "")
    for prefix in _PREFIXES:
        if not call and name.startswith(prefix):
            call = name.removeprefix(prefix)
    if call and (found := _there("syscalls", f"sys_{'exit' if returns else 'enter'}_{call}")):
        return found
    events = f"{kernel.tracing_folder()}/events"
    try:
        systems = sorted(entry.name for entry in os.scandir(events) if entry.is_dir() and entry.name != "ftrace")
    except OSError:
        return ""
    return next((found for system in systems if (found := _there(system, name))), "")


def _there(system: str, event: str) -> str:
    return f"tracepoint:{system}:{event}" if kernel.has_tracepoint(system, event) else ""
