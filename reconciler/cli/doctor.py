"""`doctor`: everything that can be wrong around the program, looked at once. It changes nothing and needs no lock."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from reconciler import settings as configuration
from reconciler.cli.exits import ExitCode
from reconciler.cli.offline import AsJson
from reconciler.cli.root import Root, root_of
from reconciler.cli.terminal import out, print_json
from reconciler.core.errors import ReconcilerError
from reconciler.core.printable import printable

if TYPE_CHECKING:
    from reconciler.cli.checks import Check
    from reconciler.cli.provenance import Origin
    from reconciler.settings import Settings

_KEYS = ("access_key", "secret_key", "api_key")


def doctor(
    context: typer.Context,
    as_json: AsJson = False,
    quick: Annotated[
        bool, typer.Option("--quick", help="Do not read every object to compare it with its hash.")
    ] = False,
) -> int:
    """Look for what is wrong around the program.

    Settings and where each came from, the key, the network, the clock, the balance, the media store, the disk, the
    database, and the objects against their hashes. Changes nothing (what it writes into the media store to see whether
    it can, it removes again), and shows no secret.
    """
    found = []
    for check in _checks(root_of(context, or_here=True), quick=quick):
        found.append(check)
        if not as_json:
            mark = "[green]✓[/]" if check.ok else "[red]✗[/]"
            first, *more = check.message.split("\n")
            out.print(f"{mark} [bold]{check.name:<9}[/] {escape(first)}")
            for line in more:
                out.print(escape(line))
    if as_json:
        rows = [{"name": item.name, "ok": item.ok, "message": item.message} for item in found]
        print_json({"checks": rows})
    return ExitCode.DONE if all(check.ok for check in found) else ExitCode.ERROR


def _checks(place: Root, *, quick: bool) -> Iterator[Check]:
    from reconciler.cli.checks import Check, local_checks
    from reconciler.cli.consulting import provider_checks
    from reconciler.cli.media import media_check
    from reconciler.cli.provenance import DEFAULT, origins
    from reconciler.engine.outcome import in_a_line

    root = place.path.resolve()
    try:
        settings = configuration.load(root, config=place.config)
    except ReconcilerError as error:
        yield Check("settings", False, f"{in_a_line(error)} Nothing else was checked.")
        return
    known = origins(settings)
    given = sum(item.source != DEFAULT for item in known)
    lines = "".join(f"\n  {printable(str(item))}" for item in known)
    yield Check("settings", True, f"{len(known)}, {given} of them given:{lines}")
    yield _key(settings, known)
    yield from provider_checks(settings)
    yield media_check(settings)
    yield from local_checks(root, settings, quick=quick)


def _key(settings: Settings, known: list[Origin]) -> Check:
    """Tell whether there is a key that could be one; only the provider knows whether it is."""
    from reconciler.cli.checks import checked
    from reconciler.cli.provider import credentials

    def look() -> tuple[bool, str]:
        credentials(settings)
        pair = settings.access_key and settings.secret_key
        used = _KEYS[:2] if pair else _KEYS[2:]
        fields = dict(zip(type(settings).model_fields, known, strict=True))
        places = ", ".join(f"{fields[name].name} from {fields[name].source}" for name in used)
        return True, f"{'a pair of keys' if pair else 'a static key'}: {places}"

    return checked("key", look)
