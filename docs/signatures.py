"""A griffe extension: signatures of Equinox modules, public bases, and formulas of docstrings.

An `equinox.Module` is a dataclass without the decorator, so that griffe sees no `__init__`; here it
gets the one that Equinox makes of its fields. Bases that the package does not export are replaced
by theirs, until a public one is met. What is a formula in a docstring becomes TeX (`formulas`).
"""

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import griffe

# griffe loads this file by its path.
sys.path.insert(0, str(Path(__file__).parent))

from formulas import typeset_blocks

MODULE = "equinox.Module"


class Signatures(griffe.Extension):
    """Gives classes their constructors and public bases."""

    def on_package(self, *, pkg: griffe.Module, **kwargs: Any) -> None:
        """Visits all classes of a package that was loaded."""
        del kwargs
        classes = list(_classes(pkg))
        exported = {path for module in _modules(pkg) for path in _exports(module)}
        for each in classes:
            if "__init__" not in each.members and _is_module(each):
                each.set_member("__init__", _constructor(each))
        for each in _documented(pkg):
            each.docstring.value = typeset_blocks(public_path(each.docstring.value))
        # Afterwards, for the fields were found through the private bases.
        bases = {each.path: _public_bases(each, exported) for each in classes}
        for each in classes:
            each.bases = bases[each.path]


def public_path(text: str) -> str:
    """Returns a text in which private modules are left out of the paths of names."""
    for inside, space in (("_meta", "meta"), ("_feedback_control", "feedback_control")):
        text = text.replace(f"leastcontrol.rules.{inside}", f"leastcontrol.{space}")
    return re.sub(r"(leastcontrol(?:\.[a-z]\w*)*)(?:\._[a-z]\w*)+", r"\1", text)


def _modules(module: griffe.Module) -> Iterator[griffe.Module]:
    yield module
    for member in module.members.values():
        if not member.is_alias and member.is_module:
            yield from _modules(cast(griffe.Module, member))


def _classes(package: griffe.Module) -> Iterator[griffe.Class]:
    for module in _modules(package):
        for member in module.members.values():
            if not member.is_alias and member.is_class:
                yield cast(griffe.Class, member)


def _documented(owner: griffe.Module | griffe.Class) -> Iterator[Any]:
    """Yields what has a docstring, in a module or a class and below."""
    if owner.docstring is not None:
        yield owner
    for member in owner.members.values():
        if not member.is_alias:
            if member.is_module or member.is_class:
                yield from _documented(cast(griffe.Class, member))
            elif member.docstring is not None:
                yield member


def _exports(module: griffe.Module) -> Iterator[str]:
    for member in module.members.values():
        if member.is_alias and member.is_public:
            try:
                yield member.canonical_path
            except griffe.AliasResolutionError:
                continue


def _resolved(base: Any) -> griffe.Class | None:
    try:
        target = base.parent.modules_collection[base.canonical_path]
        target = target.final_target if target.is_alias else target
    except (AttributeError, KeyError, griffe.GriffeError):
        return None
    return target if isinstance(target, griffe.Class) else None


def _name_of(base: Any) -> str:
    return getattr(base, "canonical_path", str(base))


def _ancestors(each: griffe.Class) -> list[griffe.Class]:
    """Returns a class behind those that it inherits from."""
    ancestors = [
        ancestor
        for base in each.bases
        if (parent := _resolved(base))
        for ancestor in _ancestors(parent)
    ]
    return list(dict.fromkeys([*ancestors, each]))


def _is_module(each: griffe.Class) -> bool:
    return any(_name_of(base) == MODULE for ancestor in _ancestors(each) for base in ancestor.bases)


def _constructor(each: griffe.Class) -> griffe.Function:
    parameters: dict[str, griffe.Parameter] = {}
    for ancestor in _ancestors(each):
        if "__init__" in ancestor.members and ancestor is not each:
            init = cast(griffe.Function, ancestor.members["__init__"])
            parameters = {p.name: p for p in init.parameters if p.name != "self"}
            continue
        for name, member in ancestor.members.items():
            if (parameter := _parameter(name, member)) is not None:
                parameters[name] = parameter
    return griffe.Function(
        "__init__",
        lineno=0,
        endlineno=0,
        parent=each,
        parameters=griffe.Parameters(
            griffe.Parameter("self", kind=griffe.ParameterKind.positional_or_keyword),
            *sorted(parameters.values(), key=lambda p: p.kind is griffe.ParameterKind.keyword_only),
        ),
        returns="None",
    )


def _parameter(name: str, member: Any) -> griffe.Parameter | None:
    """Returns the parameter that a field makes; `None` for what is no field or not a parameter."""
    if member.is_alias or not member.is_attribute or member.annotation is None:
        return None
    if "property" in member.labels or "instance-attribute" not in member.labels:
        return None
    annotation = str(member.annotation)
    if "AbstractVar" in annotation or "ClassVar" in annotation:
        return None
    default, kind = member.value, griffe.ParameterKind.positional_or_keyword
    if isinstance(default, griffe.ExprCall) and str(default.function).endswith("field"):
        words = {
            argument.name: argument.value
            for argument in default.arguments
            if isinstance(argument, griffe.ExprKeyword)
        }
        if str(words.get("init")) == "False":
            return None
        if str(words.get("kw_only")) == "True":
            kind = griffe.ParameterKind.keyword_only
        default = words.get("default")
        if default is None and "default_factory" in words:
            default = f"{words['default_factory']}()"
    return griffe.Parameter(name, annotation=member.annotation, kind=kind, default=default)


def _public_bases(each: griffe.Class, exported: set[str]) -> list[Any]:
    shown: list[Any] = []
    for base in each.bases:
        resolved = _resolved(base)
        if resolved is None or resolved.canonical_path in exported:
            shown.append(base)
        else:
            shown += _public_bases(resolved, exported)
    # What every module is says nothing.
    unique = {_name_of(base): base for base in shown}
    return [base for name, base in unique.items() if name != MODULE]
