"""Prototypes of eBPF helper functions, and which programs may call which.

Each line of ``PROTOTYPES`` is: name, flags, result, arguments.  A name is the helper's (see bpf_helpers), or that of a
variant for some program types.  Flags: G for programs under a GPL-compatible license only, P may take pointers into
packets, S may sleep, - none.  "?" behind a word: may be NULL; "!" behind it: memory that the helper fills and that
need not be initialized; "-" in front: the reference is released.

Words of results: int, void, value (of the map in the arguments), record (ring buffer), dynptr_mem, percpu (a variable
of the kernel), sockets, and btf:NAME, a pointer to the kernel's struct NAME.  Words of arguments: ctx, map, key and
value (of the map), mem, rmem (only read) and wmem with size or size0 (zero allowed) behind it, fixedN (N bytes),
alloc_size, any, stack, func, timer, spin_lock, string (a constant), sock_common, btf_sock, socket, btf:NAME, percpu,
kptr_at (a place in a map), record, dynptr, dynptr:local, dynptr:ringbuf.

``HELPERS`` has the helpers of each group, as name or name=variant; ``PROGRAM_GROUPS`` the groups of each program type,
first come first served.  base is for all who may load, base_capable asks for CAP_BPF, base_perfmon for CAP_PERFMON too;
base_newer has what Linux 6.16 gave to all program types.  "!name": withheld.
Source (Linux 6.1): the struct bpf_func_proto and *_func_proto functions of kernel/bpf/helpers.c, kernel/bpf/cgroup.c,
kernel/trace/bpf_trace.c, net/core/filter.c, net/core/sock_map.c, net/core/bpf_sk_storage.c, kernel/bpf/bpf_lsm.c; what
came after was asked of a running 6.18.
"""

from __future__ import annotations

from linscope.abi import bpf as b

_PROTOTYPES = """
bind - int ctx rmem size
bprm_opts_set - int btf:linux_binprm any
btf_find_by_name_kind S int rmem size any any
cgrp_storage_delete - int map btf:cgroup
cgrp_storage_get - value? map btf:cgroup value? any
clone_redirect - int ctx any any
copy_from_user S int mem! size0 any
copy_from_user_task GS int mem! size0 any btf:task_struct any
csum_diff P int rmem? size0 rmem? size0 any
csum_level - int ctx any
csum_update - int ctx any
current_task_under_cgroup - int map any
d_path - int btf:path mem size0
dynptr_data - dynptr_mem? dynptr any alloc_size
dynptr_from_mem - int mem! size0 any dynptr:local!
dynptr_read - int mem! size0 dynptr any any
dynptr_write - int dynptr any rmem size0 any
event_output_data G int ctx map any rmem size0
find_vma - int btf:task_struct any func stack? any
flow_dissector_load_bytes - int ctx any mem! size
for_each_map_elem - int map func stack? any
get_attach_cookie - int ctx
get_attach_cookie_kmulti - int ctx
get_attach_cookie_pe - int ctx
get_attach_cookie_trace - int ctx
get_attach_cookie_tracing - int ctx
get_branch_snapshot G int mem! size0
get_cgroup_classid - int ctx
get_cgroup_classid_curr - int
get_current_ancestor_cgroup_id - int any
get_current_cgroup_id - int
get_current_comm - int mem! size
get_current_pid_tgid - int
get_current_task G int
get_current_task_btf G btf:task_struct
get_current_uid_gid - int
get_func_arg - int ctx any fixed8!
get_func_arg_cnt - int ctx
get_func_ip_kprobe G int ctx
get_func_ip_kprobe_multi - int ctx
get_func_ip_tracing G int ctx
get_func_ret - int ctx fixed8!
get_hash_recalc - int ctx
get_listener_sock - socket? sock_common
get_local_storage - value map any
get_netns_cookie_sk_msg - int ctx?
get_netns_cookie_sock - int ctx?
get_netns_cookie_sock_addr - int ctx?
get_netns_cookie_sock_ops - int ctx?
get_netns_cookie_sockopt - int ctx?
get_ns_current_pid_tgid - int any any mem! size
get_numa_node_id - int
get_prandom_u32 - int
get_raw_smp_processor_id - int
get_retval - int
get_route_realm - int ctx
get_smp_processor_id - int
get_socket_cookie - int ctx
get_socket_cookie_sock - int ctx
get_socket_cookie_sock_addr - int ctx
get_socket_cookie_sock_ops - int ctx
get_socket_ptr_cookie - int btf_sock
get_socket_uid - int ctx
get_stack G int ctx mem! size0 any
get_stack_pe G int ctx mem! size0 any
get_stack_raw_tp G int ctx rmem size0 any
get_stack_tp G int ctx mem! size0 any
get_stackid G int ctx map any
get_stackid_pe - int ctx map any
get_stackid_raw_tp G int ctx map any
get_stackid_tp G int ctx map any
get_task_stack - int btf:task_struct mem! size0 any
ima_file_hash S int btf:file mem! size
ima_inode_hash S int btf:inode mem! size
inode_storage_delete - int map btf:inode
inode_storage_get - value? map btf:inode value? any
jiffies64 - int
kallsyms_lookup_name - int mem size0 any fixed8!
kptr_xchg - btf:kptr? kptr_at -btf:kptr?
ktime_get_boot_ns - int
ktime_get_coarse_ns - int
ktime_get_ns - int
ktime_get_tai_ns - int
l3_csum_replace - int ctx any any any any
l4_csum_replace - int ctx any any any any
loop - int any func stack? any
lwt_in_push_encap - int ctx any rmem size
lwt_seg6_action - int ctx any rmem size
lwt_seg6_adjust_srh - int ctx any any
lwt_seg6_store_bytes - int ctx any rmem size
lwt_xmit_push_encap - int ctx any rmem size
map_delete_elem P int map key
map_lookup_elem P value? map key
map_lookup_percpu_elem P value? map key any
map_peek_elem - int map value!
map_pop_elem - int map value!
map_push_elem P int map value any
map_update_elem P int map key value any
msg_apply_bytes - int ctx any
msg_cork_bytes - int ctx any
msg_pop_data - int ctx any any any
msg_pull_data - int ctx any any any
msg_push_data - int ctx any any any
msg_redirect_hash - int ctx map key any
msg_redirect_map - int ctx map any any
override_return G int ctx any
per_cpu_ptr - percpu? percpu any
perf_event_output G int ctx map any rmem size0
perf_event_output_raw_tp G int ctx map any rmem size0
perf_event_output_tp G int ctx map any rmem size0
perf_event_read G int map any
perf_event_read_value G int map any mem! size
perf_prog_read_value G int ctx mem! size
probe_read_compat G int mem! size0 any
probe_read_compat_str G int mem! size0 any
probe_read_kernel G int mem! size0 any
probe_read_kernel_str G int mem! size0 any
probe_read_user G int mem! size0 any
probe_read_user_str G int mem! size0 any
probe_write_user G int any rmem size
rc_keydown G int ctx any any any
rc_pointer_rel G int ctx any any
rc_repeat G int ctx
read_branch_records G int ctx mem? size0 any
redirect - int any any
redirect_neigh - int any rmem? size0 any
redirect_peer - int any any
ringbuf_discard - void -record any
ringbuf_discard_dynptr - void -dynptr:ringbuf any
ringbuf_output - int map rmem size0 any
ringbuf_query - int map any
ringbuf_reserve - record? map alloc_size any
ringbuf_reserve_dynptr - int map any any dynptr:ringbuf!
ringbuf_submit - void -record any
ringbuf_submit_dynptr - void -dynptr:ringbuf any
send_signal - int any
send_signal_thread - int any
seq_printf G int btf:seq_file rmem size rmem? size0
seq_printf_btf G int btf:seq_file rmem size0 any
seq_write G int btf:seq_file rmem size0
set_hash - int ctx any
set_hash_invalid - int ctx
set_retval - int any
sk_ancestor_cgroup_id - int btf_sock any
sk_assign - int ctx btf_sock any
sk_cgroup_id - int btf_sock
sk_fullsock - socket? sock_common
sk_getsockopt - int btf_sock any any mem! size
sk_lookup_assign - int ctx socket? any
sk_lookup_tcp P socket? ctx rmem size any any
sk_lookup_udp P socket? ctx rmem size any any
sk_redirect_hash - int ctx map key any
sk_redirect_map - int ctx map any any
sk_release - int -btf_sock
sk_reuseport_load_bytes - int ctx any mem! size
sk_reuseport_load_bytes_relative - int ctx any mem! size any
sk_select_reuseport - int ctx map key any
sk_setsockopt - int btf_sock any any rmem size
sk_skb_adjust_room - int ctx any any any
sk_skb_change_head - int ctx any any
sk_skb_change_tail - int ctx any any
sk_skb_pull_data - int ctx any
sk_storage_delete - int map btf_sock
sk_storage_delete_tracing - int map btf:sock_common
sk_storage_get - value? map btf_sock value? any
sk_storage_get_cg_sock - value? map ctx value? any
sk_storage_get_tracing - value? map btf:sock_common value? any
skb_adjust_room - int ctx any any any
skb_ancestor_cgroup_id - int ctx any
skb_cgroup_classid - int ctx
skb_cgroup_id - int ctx
skb_change_head - int ctx any any
skb_change_proto - int ctx any any
skb_change_tail - int ctx any any
skb_change_type - int ctx any
skb_check_mtu G int ctx any fixed4! any any
skb_ecn_set_ce - int ctx
skb_event_output G int ctx map any rmem size0
skb_fib_lookup G int ctx mem size any
skb_get_tunnel_key - int ctx mem! size any
skb_get_tunnel_opt - int ctx mem! size
skb_get_xfrm_state - int ctx any mem! size any
skb_load_bytes - int ctx any mem! size
skb_load_bytes_relative - int ctx any mem! size any
skb_output G int btf:sk_buff map any rmem size0
skb_pull_data - int ctx any
skb_set_tstamp - int ctx any any
skb_set_tunnel_key - int ctx rmem size any
skb_set_tunnel_opt - int ctx rmem size
skb_store_bytes - int ctx any rmem size any
skb_under_cgroup - int ctx map any
skb_vlan_pop - int ctx
skb_vlan_push - int ctx any any
skc_lookup_tcp P sock_common? ctx rmem size any any
skc_to_mptcp_sock - btf:mptcp_sock? sock_common
skc_to_tcp6_sock - btf:tcp6_sock? btf_sock
skc_to_tcp_request_sock - btf:tcp_request_sock? btf_sock
skc_to_tcp_sock - btf:tcp_sock? btf_sock
skc_to_tcp_timewait_sock - btf:tcp_timewait_sock? btf_sock
skc_to_udp6_sock - btf:udp6_sock? btf_sock
skc_to_unix_sock - btf:unix_sock? btf_sock
snprintf G int mem? size0 string rmem? size0
snprintf_btf - int mem size rmem size any
sock_addr_getsockopt - int ctx any any mem! size
sock_addr_setsockopt - int ctx any any rmem size
sock_addr_sk_lookup_tcp - socket? ctx rmem size any any
sock_addr_sk_lookup_udp - socket? ctx rmem size any any
sock_addr_skc_lookup_tcp - sock_common? ctx rmem size any any
sock_from_file - btf:socket? btf:file
sock_hash_update P int ctx map key any
sock_map_update P int ctx map key any
sock_ops_cb_flags_set - int ctx any
sock_ops_getsockopt - int ctx any any mem! size
sock_ops_load_hdr_opt - int ctx wmem size any
sock_ops_reserve_hdr_opt - int ctx any any
sock_ops_setsockopt - int ctx any any rmem size
sock_ops_store_hdr_opt - int ctx rmem size any
spin_lock - void spin_lock
spin_unlock - void spin_lock
strncmp - int mem size string
strtol - int rmem size any fixed8!
strtoul - int rmem size any fixed8!
sys_bpf - int any rmem size
sys_close - int any
sysctl_get_current_value - int ctx mem! size
sysctl_get_name - int ctx mem size any
sysctl_get_new_value - int ctx mem! size
sysctl_set_new_value - int ctx rmem size
tail_call - void ctx map any
task_pt_regs G btf:pt_regs btf:task_struct
task_storage_delete - int map btf:task_struct
task_storage_get - value? map btf:task_struct value? any
tc_sk_lookup_tcp P socket? ctx rmem size any any
tc_sk_lookup_udp P socket? ctx rmem size any any
tc_skc_lookup_tcp P sock_common? ctx rmem size any any
tcp_check_syncookie GP int btf_sock rmem size rmem size
tcp_gen_syncookie GP int btf_sock rmem size rmem size
tcp_raw_check_syncookie_ipv4 GP int fixed20 fixed20
tcp_raw_check_syncookie_ipv6 GP int fixed40 fixed20
tcp_raw_gen_syncookie_ipv4 GP int fixed20 mem size
tcp_raw_gen_syncookie_ipv6 GP int fixed40 mem size
tcp_sock - tcp_sock? sock_common
this_cpu_ptr - percpu percpu
timer_cancel G int timer
timer_init G int timer map any
timer_set_callback G int timer func
timer_start G int timer any any
trace_printk G int rmem size
trace_vprintk G int rmem size rmem? size0
unlocked_sk_getsockopt - int btf_sock any any mem! size
unlocked_sk_setsockopt - int btf_sock any any rmem size
user_ringbuf_drain - int map func stack? any
xdp_adjust_head - int ctx any
xdp_adjust_meta - int ctx any
xdp_adjust_tail - int ctx any
xdp_check_mtu G int ctx any fixed4! any any
xdp_event_output G int ctx map any rmem size0
xdp_fib_lookup G int ctx mem size any
xdp_get_buff_len - int ctx
xdp_get_buff_len_trace - int btf:xdp_buff
xdp_load_bytes - int ctx any mem! size
xdp_output G int btf:xdp_buff map any rmem size0
xdp_redirect - int any any
xdp_redirect_map - int map any any
xdp_sk_lookup_tcp P socket? ctx rmem size any any
xdp_sk_lookup_udp P socket? ctx rmem size any any
xdp_skc_lookup_tcp P sock_common? ctx rmem size any any
xdp_store_bytes - int ctx any rmem size
"""

_HELPERS = {
    "base": """
        map_lookup_elem map_update_elem map_delete_elem map_push_elem map_pop_elem map_peek_elem
        map_lookup_percpu_elem get_prandom_u32 get_smp_processor_id=get_raw_smp_processor_id get_numa_node_id
        tail_call ktime_get_ns ktime_get_boot_ns ktime_get_tai_ns ringbuf_output ringbuf_reserve ringbuf_submit
        ringbuf_discard ringbuf_query strncmp strtol strtoul
    """,
    "base_capable": """
        spin_lock spin_unlock jiffies64 per_cpu_ptr this_cpu_ptr timer_init timer_set_callback timer_start
        timer_cancel kptr_xchg for_each_map_elem loop user_ringbuf_drain ringbuf_reserve_dynptr
        ringbuf_submit_dynptr ringbuf_discard_dynptr dynptr_from_mem dynptr_read dynptr_write dynptr_data
    """,
    "base_perfmon": """
        trace_printk get_current_task get_current_task_btf probe_read_user probe_read_kernel probe_read_user_str
        probe_read_kernel_str snprintf_btf snprintf task_pt_regs trace_vprintk
    """,
    "tracing_common": """
        map_lookup_elem map_update_elem map_delete_elem map_push_elem map_pop_elem map_peek_elem
        map_lookup_percpu_elem ktime_get_ns ktime_get_boot_ns tail_call get_current_pid_tgid get_current_task
        get_current_task_btf task_pt_regs get_current_uid_gid get_current_comm trace_printk get_smp_processor_id
        get_numa_node_id perf_event_read current_task_under_cgroup get_prandom_u32 probe_write_user probe_read_user
        probe_read_kernel probe_read_user_str probe_read_kernel_str probe_read=probe_read_compat
        probe_read_str=probe_read_compat_str get_current_cgroup_id get_current_ancestor_cgroup_id send_signal
        send_signal_thread perf_event_read_value get_ns_current_pid_tgid ringbuf_output ringbuf_reserve
        ringbuf_submit ringbuf_discard ringbuf_query jiffies64 get_task_stack copy_from_user copy_from_user_task
        snprintf_btf per_cpu_ptr this_cpu_ptr task_storage_get task_storage_delete for_each_map_elem snprintf
        get_func_ip=get_func_ip_tracing get_branch_snapshot find_vma trace_vprintk
    """,
    "kprobe": """
        perf_event_output get_stackid get_stack override_return get_func_ip=get_func_ip_kprobe_multi
        get_attach_cookie=get_attach_cookie_kmulti
    """,
    "tp": """
        perf_event_output=perf_event_output_tp get_stackid=get_stackid_tp get_stack=get_stack_tp
        get_attach_cookie=get_attach_cookie_trace
    """,
    "pe": """
        perf_event_output=perf_event_output_tp get_stackid=get_stackid_pe get_stack=get_stack_pe
        perf_prog_read_value read_branch_records get_attach_cookie=get_attach_cookie_pe
    """,
    "raw_tp": """
        perf_event_output=perf_event_output_raw_tp get_stackid=get_stackid_raw_tp get_stack=get_stack_raw_tp
    """,
    "tracing": """
        skb_output xdp_output skc_to_tcp6_sock skc_to_tcp_sock skc_to_tcp_timewait_sock skc_to_tcp_request_sock
        skc_to_udp6_sock skc_to_unix_sock skc_to_mptcp_sock sk_storage_get=sk_storage_get_tracing
        sk_storage_delete=sk_storage_delete_tracing sock_from_file get_socket_cookie=get_socket_ptr_cookie
        xdp_get_buff_len=xdp_get_buff_len_trace seq_printf seq_write seq_printf_btf d_path get_func_arg get_func_ret
        get_func_arg_cnt get_attach_cookie=get_attach_cookie_tracing
    """,
    "lsm": """
        inode_storage_get inode_storage_delete sk_storage_get sk_storage_delete spin_lock spin_unlock bprm_opts_set
        ima_inode_hash ima_file_hash get_attach_cookie setsockopt=sk_setsockopt getsockopt=sk_getsockopt
    """,
    "syscall": "sys_bpf btf_find_by_name_kind sys_close kallsyms_lookup_name",
    "cgroup_dev": "perf_event_output=event_output_data",
    "sysctl": """
        sysctl_get_name sysctl_get_current_value sysctl_get_new_value sysctl_set_new_value ktime_get_coarse_ns
        perf_event_output=event_output_data
    """,
    "cg_sockopt": """
        get_netns_cookie=get_netns_cookie_sockopt sk_storage_get sk_storage_delete setsockopt=sk_setsockopt
        getsockopt=sk_getsockopt tcp_sock perf_event_output=event_output_data
    """,
    "cgroup_common": "get_local_storage get_retval set_retval",
    "cgroup_current": """
        get_current_uid_gid get_current_pid_tgid get_current_comm get_current_cgroup_id
        get_current_ancestor_cgroup_id get_cgroup_classid=get_cgroup_classid_curr
    """,
    "sock_filter": """
        get_socket_cookie=get_socket_cookie_sock get_netns_cookie=get_netns_cookie_sock
        perf_event_output=event_output_data sk_storage_get=sk_storage_get_cg_sock ktime_get_coarse_ns
    """,
    "sock_addr": """
        bind get_socket_cookie=get_socket_cookie_sock_addr get_netns_cookie=get_netns_cookie_sock_addr
        perf_event_output=event_output_data sk_lookup_tcp=sock_addr_sk_lookup_tcp
        sk_lookup_udp=sock_addr_sk_lookup_udp sk_release skc_lookup_tcp=sock_addr_skc_lookup_tcp sk_storage_get
        sk_storage_delete setsockopt=sock_addr_setsockopt getsockopt=sock_addr_getsockopt
    """,
    "sk_filter": """
        skb_load_bytes skb_load_bytes_relative get_socket_cookie get_socket_uid perf_event_output=skb_event_output
    """,
    "cg_skb": """
        sk_fullsock sk_storage_get sk_storage_delete perf_event_output=skb_event_output skb_cgroup_id
        skb_ancestor_cgroup_id sk_cgroup_id sk_ancestor_cgroup_id sk_lookup_tcp sk_lookup_udp sk_release
        skc_lookup_tcp tcp_sock get_listener_sock skb_ecn_set_ce
    """,
    "tc_cls_act": """
        skb_store_bytes skb_load_bytes skb_load_bytes_relative skb_pull_data csum_diff csum_update csum_level
        l3_csum_replace l4_csum_replace clone_redirect get_cgroup_classid skb_vlan_push skb_vlan_pop
        skb_change_proto skb_change_type skb_adjust_room skb_change_tail skb_change_head skb_get_tunnel_key
        skb_set_tunnel_key skb_get_tunnel_opt skb_set_tunnel_opt redirect redirect_neigh redirect_peer
        get_route_realm get_hash_recalc set_hash_invalid set_hash perf_event_output=skb_event_output
        get_smp_processor_id skb_under_cgroup get_socket_cookie get_socket_uid fib_lookup=skb_fib_lookup
        check_mtu=skb_check_mtu sk_fullsock sk_storage_get sk_storage_delete skb_get_xfrm_state skb_cgroup_classid
        skb_cgroup_id skb_ancestor_cgroup_id sk_lookup_tcp=tc_sk_lookup_tcp sk_lookup_udp=tc_sk_lookup_udp
        sk_release tcp_sock get_listener_sock skc_lookup_tcp=tc_skc_lookup_tcp tcp_check_syncookie skb_ecn_set_ce
        tcp_gen_syncookie sk_assign skb_set_tstamp tcp_raw_gen_syncookie_ipv4 tcp_raw_gen_syncookie_ipv6
        tcp_raw_check_syncookie_ipv4 tcp_raw_check_syncookie_ipv6
    """,
    "xdp": """
        perf_event_output=xdp_event_output get_smp_processor_id csum_diff xdp_adjust_head xdp_adjust_meta
        redirect=xdp_redirect redirect_map=xdp_redirect_map xdp_adjust_tail xdp_get_buff_len xdp_load_bytes
        xdp_store_bytes fib_lookup=xdp_fib_lookup check_mtu=xdp_check_mtu sk_lookup_udp=xdp_sk_lookup_udp
        sk_lookup_tcp=xdp_sk_lookup_tcp sk_release skc_lookup_tcp=xdp_skc_lookup_tcp tcp_check_syncookie
        tcp_gen_syncookie tcp_raw_gen_syncookie_ipv4 tcp_raw_gen_syncookie_ipv6 tcp_raw_check_syncookie_ipv4
        tcp_raw_check_syncookie_ipv6
    """,
    "sock_ops": """
        setsockopt=sock_ops_setsockopt getsockopt=sock_ops_getsockopt sock_ops_cb_flags_set sock_map_update
        sock_hash_update get_socket_cookie=get_socket_cookie_sock_ops perf_event_output=event_output_data
        sk_storage_get sk_storage_delete get_netns_cookie=get_netns_cookie_sock_ops
        load_hdr_opt=sock_ops_load_hdr_opt store_hdr_opt=sock_ops_store_hdr_opt
        reserve_hdr_opt=sock_ops_reserve_hdr_opt tcp_sock
    """,
    "sk_msg": """
        msg_redirect_map msg_redirect_hash msg_apply_bytes msg_cork_bytes msg_pull_data msg_push_data msg_pop_data
        perf_event_output=event_output_data get_current_uid_gid get_current_pid_tgid sk_storage_get
        sk_storage_delete get_netns_cookie=get_netns_cookie_sk_msg get_current_cgroup_id
        get_current_ancestor_cgroup_id get_cgroup_classid=get_cgroup_classid_curr
    """,
    "sk_skb": """
        skb_store_bytes skb_load_bytes skb_pull_data=sk_skb_pull_data skb_change_tail=sk_skb_change_tail
        skb_change_head=sk_skb_change_head skb_adjust_room=sk_skb_adjust_room get_socket_cookie get_socket_uid
        sk_redirect_map sk_redirect_hash perf_event_output=skb_event_output sk_lookup_tcp sk_lookup_udp sk_release
        skc_lookup_tcp
    """,
    "flow_dissector": "skb_load_bytes=flow_dissector_load_bytes",
    "lwt_out": """
        skb_load_bytes skb_pull_data csum_diff get_cgroup_classid get_route_realm get_hash_recalc
        perf_event_output=skb_event_output get_smp_processor_id skb_under_cgroup
    """,
    "lwt_in": "lwt_push_encap=lwt_in_push_encap",
    "lwt_xmit": """
        skb_get_tunnel_key skb_set_tunnel_key skb_get_tunnel_opt skb_set_tunnel_opt redirect clone_redirect
        skb_change_tail skb_change_head skb_store_bytes csum_update csum_level l3_csum_replace l4_csum_replace
        set_hash_invalid lwt_push_encap=lwt_xmit_push_encap
    """,
    "lwt_seg6local": "!skb_pull_data lwt_seg6_store_bytes lwt_seg6_action lwt_seg6_adjust_srh",
    "sk_reuseport": """
        sk_select_reuseport skb_load_bytes=sk_reuseport_load_bytes
        skb_load_bytes_relative=sk_reuseport_load_bytes_relative get_socket_cookie=get_socket_ptr_cookie
        ktime_get_coarse_ns
    """,
    "sk_lookup": "perf_event_output=event_output_data sk_assign=sk_lookup_assign sk_release",
    "sk_base": """
        skc_to_tcp6_sock skc_to_tcp_sock skc_to_tcp_timewait_sock skc_to_tcp_request_sock skc_to_udp6_sock
        skc_to_unix_sock skc_to_mptcp_sock ktime_get_coarse_ns
    """,
    "lirc_mode2": """
        rc_repeat rc_keydown rc_pointer_rel map_lookup_elem map_update_elem map_delete_elem map_push_elem
        map_pop_elem map_peek_elem ktime_get_ns ktime_get_boot_ns tail_call get_prandom_u32 trace_printk
    """,
    "base_newer": """
        copy_from_user copy_from_user_task current_task_under_cgroup find_vma get_branch_snapshot
        get_cgroup_classid=get_cgroup_classid_curr get_current_ancestor_cgroup_id get_current_cgroup_id
        get_current_comm get_current_pid_tgid get_current_uid_gid get_netns_cookie=get_netns_cookie_sock
        get_ns_current_pid_tgid get_task_stack perf_event_read perf_event_read_value send_signal send_signal_thread
        task_storage_delete task_storage_get cgrp_storage_get cgrp_storage_delete
    """,
    "raw_tp_newer": "get_attach_cookie=get_attach_cookie_tracing",
}

_SK = ("sk_base",)
_TRACING = ("tracing_common",)
_CGROUP = ("cgroup_common", "cgroup_current")
_CGROUP_NO_TASK = ("cgroup_common",)

# BPF_PROG_TYPE_* -> groups; the base groups follow for all but lirc_mode2
PROGRAM_GROUPS: dict[int, tuple[str, ...]] = {
    b.BPF_PROG_TYPE_SOCKET_FILTER: ("sk_filter", *_SK),
    b.BPF_PROG_TYPE_KPROBE: ("kprobe", *_TRACING),
    b.BPF_PROG_TYPE_SCHED_CLS: ("tc_cls_act", *_SK),
    b.BPF_PROG_TYPE_SCHED_ACT: ("tc_cls_act", *_SK),
    b.BPF_PROG_TYPE_TRACEPOINT: ("tp", *_TRACING),
    b.BPF_PROG_TYPE_XDP: ("xdp", *_SK),
    b.BPF_PROG_TYPE_PERF_EVENT: ("pe", *_TRACING),
    b.BPF_PROG_TYPE_CGROUP_SKB: (*_CGROUP_NO_TASK, "cg_skb", "sk_filter", *_SK),
    b.BPF_PROG_TYPE_CGROUP_SOCK: (*_CGROUP, "sock_filter"),
    b.BPF_PROG_TYPE_LWT_IN: ("lwt_in", "lwt_out", *_SK),
    b.BPF_PROG_TYPE_LWT_OUT: ("lwt_out", *_SK),
    b.BPF_PROG_TYPE_LWT_XMIT: ("lwt_xmit", "lwt_out", *_SK),
    b.BPF_PROG_TYPE_LWT_SEG6LOCAL: ("lwt_seg6local", "lwt_out", *_SK),
    b.BPF_PROG_TYPE_SOCK_OPS: (*_CGROUP_NO_TASK, "sock_ops", *_SK),
    b.BPF_PROG_TYPE_SK_SKB: ("sk_skb", *_SK),
    b.BPF_PROG_TYPE_CGROUP_DEVICE: (*_CGROUP, "cgroup_dev"),
    b.BPF_PROG_TYPE_SK_MSG: ("sk_msg", *_SK),
    b.BPF_PROG_TYPE_RAW_TRACEPOINT: ("raw_tp", "raw_tp_newer", *_TRACING),
    b.BPF_PROG_TYPE_RAW_TRACEPOINT_WRITABLE: ("raw_tp", "raw_tp_newer", *_TRACING),
    b.BPF_PROG_TYPE_CGROUP_SOCK_ADDR: (*_CGROUP, "sock_addr", *_SK),
    b.BPF_PROG_TYPE_LIRC_MODE2: ("lirc_mode2",),
    b.BPF_PROG_TYPE_SK_REUSEPORT: ("sk_reuseport",),
    b.BPF_PROG_TYPE_FLOW_DISSECTOR: ("flow_dissector", *_SK),
    b.BPF_PROG_TYPE_CGROUP_SYSCTL: (*_CGROUP, "sysctl"),
    b.BPF_PROG_TYPE_CGROUP_SOCKOPT: (*_CGROUP, "cg_sockopt"),
    b.BPF_PROG_TYPE_TRACING: ("tracing", "raw_tp", *_TRACING),
    b.BPF_PROG_TYPE_STRUCT_OPS: (),
    b.BPF_PROG_TYPE_EXT: (),
    b.BPF_PROG_TYPE_LSM: ("lsm", "tracing", "raw_tp", *_TRACING),
    b.BPF_PROG_TYPE_SK_LOOKUP: ("sk_lookup", *_SK),
    b.BPF_PROG_TYPE_SYSCALL: ("syscall", "tracing", "raw_tp", *_TRACING),
    b.BPF_PROG_TYPE_NETFILTER: (),
}

BASE_GROUPS = ("base", "base_capable", "base_perfmon", "base_newer")

PROTOTYPES: dict[str, tuple[str, str, tuple[str, ...]]] = {}  # name -> (flags, result, arguments)
for _line in _PROTOTYPES.split("\n"):
    if _line:
        _name, _flags, _result, *_arguments = _line.split(" ")
        PROTOTYPES[_name] = (_flags, _result, tuple(_arguments))

HELPERS: dict[str, dict[str, str]] = {}  # group -> helper -> key of PROTOTYPES, "" when withheld
for _group, _words in _HELPERS.items():
    HELPERS[_group] = _one = {}
    for _word in _words.split():
        _name, _, _variant = _word.partition("=")
        if _word.startswith("!"):
            _one[_word[1:]] = ""
        else:
            _one[_name] = _variant or _name
