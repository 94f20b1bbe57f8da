"""The command `api-v1`: the same commands as `flask --app api_v1 api-v1`, in the folder of a platform.

It stands outside of the package, whose import needs the platform's modules, to say in one line that they are not there.
"""

from __future__ import annotations

import os
import sys
from importlib import metadata


def main() -> None:
    """Run the command that the arguments name, with the platform in the current folder; `--version` needs none."""
    if sys.argv[1:] == ["--version"]:
        print(metadata.version("ccextractor-api-v1"))
        return
    sys.path.insert(0, os.getcwd())
    try:
        import api_v1
    except ImportError as missing:
        if "--help" in sys.argv[1:]:
            print(
                "Usage: api-v1 COMMAND [OPTIONS], in the folder of a sample platform, where --help lists the commands."
            )
        sys.exit(f"Error: {missing}")

    import click
    from flask import Flask
    from flask.cli import ScriptInfo

    def load() -> Flask:
        try:
            return api_v1.create_app()
        except (ImportError, api_v1.StartupError, api_v1.settings.SettingError) as error:
            raise click.ClickException(str(error)) from None

    api_v1.cli.group.main(obj=ScriptInfo(create_app=load), prog_name="api-v1")


if __name__ == "__main__":
    main()
