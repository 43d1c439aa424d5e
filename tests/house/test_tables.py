"""Tables and files are in step: every line leads to a thing, every file has its line."""

from __future__ import annotations

from pathlib import Path

import pytest

from linscope.commands import COMMANDS, iter_commands
from linscope.commands.bpf import BPF
from linscope.commands.kdump import KDUMP
from linscope.errors import UnknownNameError
from linscope.formats import FORMATS
from linscope.tables import Table

SOURCE = Path(__file__).resolve().parents[2] / "src" / "linscope"
TABLES = {"commands": COMMANDS, "commands.bpf": BPF, "commands.kdump": KDUMP, "formats": FORMATS}


def modules_of(table: Table) -> set[str]:
    return {entry.where.partition(":")[0] for entry in table.entries.values()}


@pytest.mark.parametrize("folder", TABLES)
def test_every_line_leads_to_a_thing(folder: str) -> None:
    table = TABLES[folder]
    for name in table:
        assert table[name] is not None
        assert table.entries[name].summary


@pytest.mark.parametrize("folder", TABLES)
def test_every_file_has_its_line(folder: str) -> None:
    listed = {
        module.removeprefix(f"linscope.{folder}.").partition(".")[0] for module in modules_of(TABLES[folder])
    }
    found = {
        path.stem
        for path in SOURCE.joinpath(*folder.split(".")).iterdir()
        if not path.name.startswith("_") and (path.suffix == ".py" or (path / "__init__.py").exists())
    }
    assert found == listed


def test_commands_keep_the_contract() -> None:
    for name, command in iter_commands():
        assert len(command.examples) >= 2, name
        assert all(f"linscope {name}" in example for example in command.examples), name
        assert isinstance(command.formats, bool) and isinstance(command.splits, bool)


def test_an_unknown_name_offers_near_ones() -> None:
    with pytest.raises(UnknownNameError, match="did you mean report") as caught:
        COMMANDS["reprot"]
    assert caught.value.exit_code == 2
