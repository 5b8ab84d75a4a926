"""Points clients at the gateway, or takes that back: one outcome for each file of each client."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from mainstay.clients.disk import Disk
from mainstay.clients.edit import put_in, take_out
from mainstay.clients.marks import Refusal
from mainstay.clients.outcome import Outcome, refuse, render_difference
from mainstay.clients.places import Machine, all_places, choose_place
from mainstay.clients.targets import Target, check_gateway
from mainstay.clients.wanted import Wanted, render_wanted
from mainstay.model import ClientFile


def set_up(
    targets: Iterable[Target], gateway: str, machine: Machine, disk: Disk, *, show: bool = False
) -> list[Outcome]:
    """Write each client's configuration. With `show` the outcome's text is what changes in the file.

    Raises:
        ConfigError: `gateway` is no address that can be written.
    """
    base = check_gateway(gateway)
    return [
        _set_up(target.client.name, file, f"{base}/{target.mount}", machine, disk, show)
        for target in targets
        for file in target.client.files
    ]


def take_back(targets: Iterable[Target], machine: Machine, disk: Disk, *, show: bool = False) -> list[Outcome]:
    """Take what setup wrote out of each client's configuration, in every place where it may have been written.

    The last comes first, so that a folder which was made for two files is empty when its maker's turn comes.
    """
    outcomes: list[Outcome] = []
    for name, file in reversed([(target.client.name, file) for target in targets for file in target.client.files]):
        places = all_places(file, machine)
        found = [_take_back(name, file, place, disk, show) for place in places]
        done = [outcome for outcome in found if outcome is not None]
        outcomes += done or [Outcome(name, str(places[-1]), "unchanged", "there is nothing of setup's")]
    return outcomes


def find_notes(environ: Mapping[str, str]) -> list[str]:
    """What a person should know beside the outcomes."""
    if not environ.get("MAINSTAY_TOKEN"):
        return []
    return ["MAINSTAY_TOKEN is not written, as it is a secret: docs/consumers.md has the line for each client"]


def _set_up(name: str, file: ClientFile, url: str, machine: Machine, disk: Disk, show: bool) -> Outcome:
    wanted = render_wanted(file, url)
    place = choose_place(file, machine)
    if isinstance(place, Refusal):
        return refuse(name, all_places(file, machine)[-1], place, wanted)
    before = disk.load(place)
    after = before if isinstance(before, Refusal) else _edited(before, wanted, disk.missing_folders(place))
    if isinstance(before, Refusal) or isinstance(after, Refusal):
        return refuse(name, place, after, wanted)
    if after != before and (failed := disk.save(place, after)):
        return refuse(name, place, failed, wanted)
    environ = machine.environ
    notes = [f"{variable} is set and goes before this file" for variable in file.variables if variable in environ]
    if show and after != before:
        notes.insert(0, render_difference(place, before, after))
    return Outcome(name, str(place), "unchanged" if after == before else "written", "\n".join(notes))


def _edited(before: bytes | None, wanted: Wanted, folders: int) -> bytes | Refusal:
    taken = take_out(before or b"", wanted.form)
    if isinstance(taken, Refusal):
        return taken
    base, restored = taken
    return put_in(base, wanted, folders if before is None else restored.folders)


def _take_back(name: str, file: ClientFile, place: Path, disk: Disk, show: bool) -> Outcome | None:
    """The outcome, or None where nothing of setup's is in the file."""
    before = disk.load(place) if place.is_file() else None
    if before is None:
        return None
    taken = before if isinstance(before, Refusal) else take_out(before, file.form)
    if isinstance(before, Refusal) or isinstance(taken, Refusal):
        return refuse(name, place, taken)
    after, restored = taken
    if not restored.found:
        return None
    gone = not after and restored.folders is not None
    failed = disk.remove(place, restored.folders or 0) if gone else disk.save(place, after)
    if failed:
        return refuse(name, place, failed)
    notes = [render_difference(place, before, None if gone else after)] if show else []
    if restored.edited:
        notes.append("somebody had edited what stood between setup's marks: that is gone too")
    return Outcome(name, str(place), "removed", "\n".join(notes))
