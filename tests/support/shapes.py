"""Does a value have the shape that botocore's model says?"""

from __future__ import annotations

from typing import Any

from botocore.validate import ParamValidator


def conforms(value: Any, shape: Any) -> None:
    """Member names, types and required members of the model, and no member that the model lacks."""
    if shape is None:
        assert not value
        return
    report = ParamValidator().validate(value, shape)
    assert not report.has_errors(), report.generate_report()
    _known_only(value, shape)


def _known_only(value: Any, shape: Any) -> None:
    if shape.type_name == "structure":
        assert set(value) <= set(shape.members), set(value) - set(shape.members)
        for name, member in value.items():
            _known_only(member, shape.members[name])
    elif shape.type_name == "list":
        for item in value:
            _known_only(item, shape.member)
