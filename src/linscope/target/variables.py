"""Types of the kernel's global variables.

BTF has those of per-CPU variables only; these are by hand, each from the file that defines it.
"""

from __future__ import annotations

# name -> type in C; "[]" behind it: an array whose length is not known
GLOBALS = {
    "init_task": "struct task_struct",  # init/init_task.c
    "init_mm": "struct mm_struct",  # mm/init-mm.c
    "init_pid_ns": "struct pid_namespace",  # kernel/pid.c
    "init_uts_ns": "struct uts_namespace",  # init/version.c
    "init_net": "struct net",  # net/core/net_namespace.c
    "arp_tbl": "struct neigh_table",  # net/ipv4/arp.c
    "nd_tbl": "struct neigh_table",  # net/ipv6/ndisc.c
    "init_ipc_ns": "struct ipc_namespace",  # ipc/msgutil.c
    "init_css_set": "struct css_set",  # kernel/cgroup/cgroup.c
    "init_fs": "struct fs_struct",  # fs/fs_struct.c
    "root_task_group": "struct task_group",  # kernel/sched/core.c
    "cgrp_dfl_root": "struct cgroup_root",  # kernel/cgroup/cgroup.c
    "modules": "struct list_head",  # kernel/module/main.c
    "super_blocks": "struct list_head",  # fs/super.c
    "slab_caches": "struct list_head",  # mm/slab_common.c
    "vmap_area_list": "struct list_head",  # mm/vmalloc.c, until v6.9
    "vmap_nodes": "struct vmap_node *",  # mm/vmalloc.c, since v6.9
    "nr_vmap_nodes": "unsigned int",  # mm/vmalloc.c, since v6.9
    "net_namespace_list": "struct list_head",  # net/core/net_namespace.c
    "prb": "struct printk_ringbuffer *",  # kernel/printk/printk.c
    "clear_seq": "struct latched_seq",  # kernel/printk/printk.c
    "panic_cpu": "atomic_t",  # kernel/panic.c
    "tainted_mask": "unsigned long",  # kernel/panic.c
    "linux_banner": "char []",  # init/version-timestamp.c
    "saved_command_line": "char *",  # init/main.c
    "system_state": "enum system_states",  # init/main.c
    "jiffies_64": "u64",  # kernel/time/timer.c
    "avenrun": "unsigned long []",  # kernel/sched/loadavg.c
    "tk_core": "struct timekeeper",  # kernel/time/timekeeping.c; behind a seqcount
    "node_data": "struct pglist_data *[]",  # arch/x86/mm/numa.c
    "contig_page_data": "struct pglist_data",  # mm/memblock.c
    "memory_blocks": "struct xarray",  # drivers/base/memory.c
    "mem_section": "struct mem_section **",  # mm/sparse.c
    "max_pfn": "unsigned long",  # mm/memblock.c
    "_totalram_pages": "atomic_long_t",  # mm/page_alloc.c
    "vm_node_stat": "atomic_long_t []",  # mm/vmstat.c
    "vm_zone_stat": "atomic_long_t []",  # mm/vmstat.c
    "vm_committed_as": "struct percpu_counter",  # mm/util.c
    "sysctl_overcommit_ratio": "int",  # mm/util.c
    "sysctl_overcommit_kbytes": "unsigned long",  # mm/util.c
    "hugetlb_max_hstate": "int",  # mm/hugetlb.c
    "hstates": "struct hstate []",  # mm/hugetlb.c
    "swap_info": "struct swap_info_struct *[]",  # mm/swapfile.c
    "nr_swapfiles": "unsigned int",  # mm/swapfile.c
    "nr_swap_pages": "atomic_long_t",  # mm/swapfile.c
    "total_swap_pages": "long",  # mm/swapfile.c
    "runqueues": "struct rq",  # kernel/sched/core.c
    "nr_irqs": "int",  # kernel/irq/irqdesc.c
    "irq_desc_tree": "struct radix_tree_root",  # kernel/irq/irqdesc.c, until v6.5
    "sparse_irqs": "struct maple_tree",  # kernel/irq/irqdesc.c, since v6.5
    "chrdevs": "struct char_device_struct *[]",  # fs/char_dev.c
    "cdev_map": "struct kobj_map *",  # fs/char_dev.c
    "major_names": "struct blk_major_name *[]",  # block/genhd.c
    "blockdev_superblock": "struct super_block *",  # block/bdev.c
    "block_class": "struct class",  # block/genhd.c
    "pci_root_buses": "struct list_head",  # drivers/pci/probe.c
    "iomem_resource": "struct resource",  # kernel/resource.c
    "ioport_resource": "struct resource",  # kernel/resource.c
    "nr_cpu_ids": "unsigned int",  # kernel/smp.c
    "__cpu_online_mask": "struct cpumask",  # kernel/cpu.c
    "__cpu_possible_mask": "struct cpumask",  # kernel/cpu.c
    "__cpu_present_mask": "struct cpumask",  # kernel/cpu.c
    "page_offset_base": "unsigned long",  # arch/x86/kernel/head64.c
    "vmalloc_base": "unsigned long",  # arch/x86/kernel/head64.c
    "vmemmap_base": "unsigned long",  # arch/x86/kernel/head64.c
    "phys_base": "unsigned long",  # arch/x86/kernel/head_64.S
    "boot_cpu_data": "struct cpuinfo_x86",  # arch/x86/kernel/setup.c
    "tsc_khz": "unsigned int",  # arch/x86/kernel/tsc.c
    "idt_table": "struct gate_struct []",  # arch/x86/kernel/idt.c
    "shm_ids": "struct ipc_ids",
    "timer_bases": "struct timer_base []",  # kernel/time/timer.c, per CPU
    "hrtimer_bases": "struct hrtimer_cpu_base",  # kernel/time/hrtimer.c, per CPU
    "dmi_ident": "char *[]",  # drivers/firmware/dmi_scan.c
}
