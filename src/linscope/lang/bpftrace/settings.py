"""The settings of a script: defaults, its config block, and BPFTRACE_* in the environment, which wins.

Source: bpftrace docs/language.md, Config Variables (v0.26).
"""

from __future__ import annotations

from linscope.lang.bpftrace.problems import Problems

TYPE_CHECKING = False  # typing itself costs a third of a bare start
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from linscope.lang.bpftrace import syntax as sx

DEFAULTS: dict[str, str | int] = {
    "cache_user_symbols": "PER_PROGRAM",
    "cpp_demangle": 1,
    "lazy_symbolication": 0,
    "license": "GPL",
    "log_size": 1000000,
    "max_bpf_progs": 1024,
    "max_cat_bytes": 10240,
    "max_map_keys": 4096,
    "max_probes": 1024,
    "max_strlen": 1024,
    "max_type_res_iterations": 0,
    "missing_probes": "error",
    "on_stack_limit": 32,
    "perf_rb_pages": 0,  # 0: linscope chooses
    "print_maps_on_exit": 1,
    "show_debug_info": 1,
    "stack_mode": "bpftrace",
    "str_trunc_trailer": "..",
    "unstable_dw_ustack": "warn",
    "unstable_import_statement": "error",
    "unstable_tseries": "warn",
    "unstable_typeinfo": "error",
    "use_blazesym": 1,
}
_WORDS = {
    "missing_probes": ("error", "warn", "ignore"),
    "stack_mode": ("bpftrace", "perf", "raw", "build_id"),
    "cache_user_symbols": ("PER_PID", "PER_PROGRAM", "NONE", "1", "0"),
}
_WORDS.update({name: ("enable", "warn", "error") for name in DEFAULTS if name.startswith("unstable_")})
_GONE = ("symbol_source", "unstable_addr", "unstable_import", "unstable_macro", "unstable_map_decl")  # of before v0.25
_PREFIX = "BPFTRACE_"
_LARGEST = (1 << 32) - 1
_LIMITS = {"max_map_keys": (1, _LARGEST), "max_strlen": (0, 1 << 24), "max_cat_bytes": (0, 1 << 24)}


def read_settings(
    block: Sequence[sx.Setting], environment: Mapping[str, str], problems: Problems
) -> dict[str, str | int]:
    """All settings.  What is wrong in the block goes to problems; in the environment too, at the program's start."""
    settings = dict(DEFAULTS)
    for line in block:
        name = line.name.lower().removeprefix(_PREFIX.lower())
        if name in _GONE:
            problems.warn(line.span, f"{name} is deprecated and has no effect")
            continue
        if name not in settings:
            problems.error(line.span, f"{name}: not a known configuration option", _nearest(name))
            continue
        _set(settings, name, line.value, line.span, problems)
    for name in settings:
        value = environment.get(_PREFIX + name.upper())
        if value is not None:
            _set(settings, name, value, (0, 1), problems)
    return settings


def _set(
    settings: dict[str, str | int], name: str, value: str | int, span: tuple[int, int], problems: Problems
) -> None:
    default = DEFAULTS[name]
    if name in _WORDS:
        if str(value) not in _WORDS[name]:
            allowed = ", ".join(_WORDS[name])
            problems.error(span, f"Invalid value for {name}: '{value}'", f"Valid values: {allowed}")
            return
        settings[name] = str(value)
    elif isinstance(default, int):
        text = str(value).lower()
        if text in ("true", "false"):
            settings[name] = int(text == "true")
        elif text.isdecimal():
            least, most = _LIMITS.get(name, (0, _LARGEST))
            number = int(text) if len(text) < 20 else _LARGEST + 1
            if least <= number <= most:
                settings[name] = number
            else:
                problems.error(span, f"Invalid value for {name}: {text} is not in {least} to {most}")
        else:
            problems.error(span, f"Invalid value for {name}: expected a number, got '{value}'")
    else:
        settings[name] = str(value)


def _nearest(name: str) -> str:
    from difflib import get_close_matches

    found = get_close_matches(name, DEFAULTS, 1)
    return f"did you mean {found[0]}?" if found else ""
