"""`reelmill pipelines` and `reelmill version`: what is installed."""

from __future__ import annotations

import sys

from reelmill.cli.options import Json
from reelmill.cli.output import print_json, print_table


def pipelines(as_json: Json = False) -> None:
    """List the installed pipelines.

    With --json, their stages and the JSON schemas of their parameters too.

    Example: `reelmill pipelines --json`
    """
    from reelmill import wiring
    from reelmill.settings import read_settings

    found = wiring.load_pipelines(wiring.toolbox(read_settings())).values()
    if as_json:
        print_json(
            [
                {
                    "name": pipeline.name,
                    "title": pipeline.title,
                    "version": pipeline.version,
                    "stages": [{"name": stage.name, "weight": stage.weight} for stage in pipeline.stages],
                    "params": pipeline.Params.model_json_schema(),
                }
                for pipeline in found
            ]
        )
        return
    head = ["NAME", "TITLE", "VERSION", "STAGES"]
    print_table(head, [[p.name, p.title, p.version, " → ".join(s.name for s in p.stages)] for p in found])


def version(as_json: Json = False) -> None:
    """Print the version.

    Example: `reelmill version`
    """
    from reelmill import __version__

    if as_json:
        print_json({"version": __version__, "python": sys.version.split()[0]})
    else:
        print(f"reelmill {__version__}")
