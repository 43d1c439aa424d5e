"""Kernel functions (kfuncs) in programs that clang compiles: our verdict beside the running kernel's."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from linscope.bpf.kernel.errors import VerifierError
from linscope.bpf.kernel.programs import load
from linscope.bpf.kernel.running import RunningKernel
from linscope.bpf.objects.reader import read_object
from linscope.bpf.program import Program
from linscope.bpf.verifier import verify

pytestmark = [pytest.mark.kernel, pytest.mark.peer]

HEAD = """
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#define Q __attribute__((preserve_access_index))
struct cpumask { int x; } Q;
struct bpf_cpumask { struct cpumask cpumask; } Q;
struct task_struct { int pid; int tgid; struct task_struct *group_leader; struct task_struct *last_wakee; } Q;
extern struct task_struct *bpf_task_from_pid(int pid) __ksym;
extern struct task_struct *bpf_task_acquire(struct task_struct *p) __ksym;
extern void bpf_task_release(struct task_struct *p) __ksym;
extern void bpf_rcu_read_lock(void) __ksym;
extern void bpf_rcu_read_unlock(void) __ksym;
extern void bpf_preempt_disable(void) __ksym;
extern void bpf_preempt_enable(void) __ksym;
extern struct bpf_cpumask *bpf_cpumask_create(void) __ksym;
extern void bpf_cpumask_release(struct bpf_cpumask *m) __ksym;
extern void bpf_cpumask_set_cpu(unsigned cpu, struct bpf_cpumask *m) __ksym;
extern unsigned bpf_cpumask_first(const struct cpumask *m) __ksym;
int found;
char LICENSE[] SEC("license") = "GPL";
#define PROG(name) SEC("tp_btf/task_newtask") int name(unsigned long long *ctx)
#define TASK ((struct task_struct *)ctx[0])
"""
# program -> (accepted by the kernel, body)
PROGRAMS = {
    "fine": (True, "struct task_struct *t = bpf_task_from_pid(1); if (t) { found = t->tgid; bpf_task_release(t); }"),
    "leak": (False, "struct task_struct *t = bpf_task_from_pid(1); if (t) found = t->tgid;"),
    "twice": (
        False,
        "struct task_struct *t = bpf_task_from_pid(1); if (t) { bpf_task_release(t); bpf_task_release(t); }",
    ),
    "unchecked": (False, "struct task_struct *t = bpf_task_from_pid(1); bpf_task_release(t);"),
    "after": (False, "struct task_struct *t = bpf_task_from_pid(1); if (t) { bpf_task_release(t); found = t->pid; }"),
    "argument": (True, "struct task_struct *t = bpf_task_acquire(TASK); if (t) bpf_task_release(t);"),
    "not_ours": (False, "bpf_task_release(TASK);"),
    "number": (False, "bpf_task_release((void *)5);"),
    "rcu": (True, "bpf_rcu_read_lock(); found++; bpf_rcu_read_unlock();"),
    "rcu_open": (False, "bpf_rcu_read_lock(); found++;"),
    "rcu_unmatched": (False, "bpf_rcu_read_unlock();"),
    "preempt": (True, "bpf_preempt_disable(); found++; bpf_preempt_enable();"),
    "preempt_open": (False, "bpf_preempt_disable(); found++;"),
    "mask": (
        True,
        "struct bpf_cpumask *m = bpf_cpumask_create(); if (!m) return 0; bpf_cpumask_set_cpu(1, m);"
        " found = bpf_cpumask_first((struct cpumask *)m); bpf_cpumask_release(m);",
    ),
    "mask_of_task": (False, "bpf_cpumask_set_cpu(1, (void *)TASK);"),
    "mask_leak": (False, "struct bpf_cpumask *m = bpf_cpumask_create(); if (m) bpf_cpumask_set_cpu(1, m);"),
}


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Program]:
    """All programs, fitted to the running kernel."""
    if os.geteuid() != 0:
        pytest.skip("needs CAP_BPF: run the tests as root")
    if shutil.which("clang") is None or not Path("/usr/include/bpf/bpf_helpers.h").exists():
        pytest.skip("needs clang and libbpf's headers: apt-get install clang libbpf-dev")
    folder = tmp_path_factory.mktemp("kfuncs")
    bodies = "".join(f"PROG({name}) {{ {body} return 0; }}\n" for name, (_, body) in PROGRAMS.items())
    (folder / "kfuncs.bpf.c").write_text(HEAD + bodies)
    include = f"-I/usr/include/{os.uname().machine}-linux-gnu"
    words = ["clang", "-O2", "-g", "-target", "bpf", include, "-c", "kfuncs.bpf.c", "-o", "kfuncs.bpf.o"]
    subprocess.run(words, cwd=folder, check=True)
    return read_object(str(folder / "kfuncs.bpf.o"), target=RunningKernel()).programs


@pytest.mark.parametrize("name", PROGRAMS)
def test_verdicts_beside_the_kernel(programs: dict[str, Program], name: str) -> None:
    accepted, _ = PROGRAMS[name]
    program = programs[name]
    try:
        load(program).close()
        log = ""
    except VerifierError as error:
        log = error.log
    assert (not log) == accepted, log[-600:]
    verdict = verify(program, kernel_btf=RunningKernel().btf)
    assert verdict.accepted == accepted, (verdict.message, log[-600:])
    if log:
        assert verdict.rule and verdict.suggestion
        assert verdict.message.splitlines()[0].partition("#")[0] in log, (verdict.message, log[-600:])
