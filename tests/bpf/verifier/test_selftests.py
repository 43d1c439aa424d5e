"""The verdicts and messages that the kernel's own verifier selftests document, against ours."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import verifier_selftests as selftests

from linscope.abi import bpf as b
from linscope.bpf.verifier import verify
from linscope.bpf.verifier.verdict import Verdict

pytestmark = [pytest.mark.peer, pytest.mark.slow]

# Where we disagree, and why.  A new name here needs a reason; a name that agrees again must go.
_KFUNC = "a kernel function that only the selftests' kernel has in its BTF"
_NO_TARGET = "attached to a function whose types come from the kernel's BTF, which the test does not have"
_SHARPER = "our ranges are those of a later kernel, which takes it too"
DISAGREE = {
    "bounds checks mixing signed and unsigned, variant 10": _SHARPER,
    "bpf_get_task_stack return R0 range is refined": _NO_TARGET,
    "calls: valid kfunc call: referenced arg needs refcounted PTR_TO_BTF_ID": _KFUNC,
    "d_path accept": _NO_TARGET,
    "reference tracking: acquire/release user key reference": _KFUNC,
    "reference tracking: acquire/release system key reference": _KFUNC,
    "map_kptr: unref: correct in kernel type size": _KFUNC.replace("function", "struct"),
}
DISAGREE_UNPRIVILEGED: dict[str, str] = {}
LEAST_MESSAGES = 0.96  # of the refusals have the words that the kernel's have


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> list[selftests.Case]:
    """All selftests with a documented verdict."""
    if not selftests.ARCHIVE.exists():
        pytest.skip(selftests.REMEDY)
    if shutil.which("gcc") is None:
        pytest.skip("needs gcc: apt-get install gcc")
    folder: Path = tmp_path_factory.mktemp("selftests")
    return [case for case in selftests.load(selftests.extract(folder), folder) if case.result]


def _says(message: str, expected: str) -> bool:
    """Whether the parts of an expectation stand in a message in this order: cmp_str_seq of test_verifier.c."""
    at = 0
    for part in expected.split("\t"):
        at = message.find(part, at)
        if at < 0:
            return False
        at += len(part)
    return True


def _judge(case: selftests.Case, privileged: bool) -> Verdict:
    return verify(case.program, privileged=privileged, kernel=selftests.KERNEL)


@pytest.mark.parametrize("privileged", [True, False], ids=["privileged", "unprivileged"])
def test_verdicts(cases: list[selftests.Case], privileged: bool) -> None:
    disagree, messages, right = set(), 0, 0
    count = 0
    for case in cases:
        if not privileged and case.program.type not in (b.BPF_PROG_TYPE_SOCKET_FILTER, b.BPF_PROG_TYPE_CGROUP_SKB):
            continue  # test_as_unpriv of test_verifier.c
        count += 1
        result = case.result if privileged else case.result_unprivileged
        expected = case.message if privileged else case.message_unprivileged
        verdict = _judge(case, privileged)
        if verdict.accepted != (result != selftests.REJECT):
            disagree.add(case.name)
        elif not verdict.accepted and expected:
            messages += 1
            right += _says(verdict.message, expected)
    known = set(DISAGREE if privileged else DISAGREE_UNPRIVILEGED)
    agreement, wording = 1 - len(disagree) / count, right / messages
    print(f"{count} cases: {agreement:.2%} of the verdicts, {wording:.1%} of {messages} messages agree")
    assert disagree == known
    assert agreement >= 0.99
    assert wording >= LEAST_MESSAGES
