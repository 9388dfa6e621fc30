"""The environment that points AWS tools at Moorage."""

from __future__ import annotations

from moorage.cli.instance import Instance


def variables(instance: Instance) -> dict[str, str]:
    """Credentials are LocalStack's `test`/`test`; a 12-digit access key id would name another account. The pager of
    the aws CLI is off: answers are short and scripts must not wait for a key."""
    return {
        "AWS_ENDPOINT_URL": instance.endpoint,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": instance.region,
        "AWS_PAGER": "",
    }


def exports(instance: Instance) -> str:
    """Lines for a POSIX shell."""
    return "".join(f'export {name}="{value}"\n' for name, value in variables(instance).items())
