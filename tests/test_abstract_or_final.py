"""A class of the library is abstract or final, and a method that is written once stays as it is.

What a method does is then written in one place, which is found without knowing the subclasses.
`__check_init__` is left out: Equinox calls it for every class of a module, and not the last alone.
"""

import abc
import importlib
import inspect
import pkgutil

import equinox as eqx

ROOMS = ("systems", "losses", "equilibrium", "controllers", "rules", "diagnostics", "devices")

# From a class, or a class and its method, to the reason for which it is extended, or overridden.
EXCEPTIONS: dict[str, str] = {}


def library_classes():
    """Lists every class that a module of the library's rooms defines."""
    modules = []
    for room in ROOMS:
        module = importlib.import_module(f"leastcontrol.{room}")
        modules.append(module)
        for info in pkgutil.walk_packages(getattr(module, "__path__", ()), f"{module.__name__}."):
            modules.append(importlib.import_module(info.name))
    return [
        value
        for module in modules
        for value in vars(module).values()
        if inspect.isclass(value) and value.__module__ == module.__name__
    ]


def function_of(member):
    """Unwraps what properties, Equinox and the checks of shapes put around a function."""
    while not inspect.isfunction(member):
        wrapped = [getattr(member, name, None) for name in ("method", "fget", "__func__", "func")]
        member = next((value for value in wrapped if value is not None), None)
        if member is None:
            return None
    return inspect.unwrap(member)


def written_methods(cls):
    """Lists the methods in the source of a class; dataclasses write others, in no file."""
    functions = {name: function_of(member) for name, member in vars(cls).items()}
    return {
        name
        for name, function in functions.items()
        if function is not None
        and function.__code__.co_filename == inspect.getsourcefile(cls)
        and name != "__check_init__"
    }


def is_abstract(cls):
    return any(
        getattr(cls, name, ())
        for name in ("__abstractmethods__", "__abstractvars__", "__abstractclassvars__")
    )


def extended_classes(classes):
    """Names every concrete class that another one extends."""
    return {
        base.__name__
        for cls in classes
        for base in cls.__bases__
        if base in classes and not is_abstract(base)
    }


def overridden_methods(classes):
    """Names every concrete method of a base class that a class overrides, as Class.method."""
    return {
        f"{cls.__name__}.{name}"
        for cls in classes
        for base in cls.__mro__[1:]
        if base in classes
        for name in written_methods(base) & written_methods(cls)
        if name not in getattr(base, "__abstractmethods__", ())
    }


class AbstractShape(eqx.Module):
    @abc.abstractmethod
    def area(self):
        """The area."""

    def twice(self):
        return 2 * self.area()

    @property
    def corners(self):
        return 0

    @staticmethod
    def unit():
        return "metre"


class Square(AbstractShape):
    side: float

    def area(self):
        return self.side**2


class AbstractOdd(AbstractShape):
    @property
    def corners(self):
        return 1


class Tile(Square):
    colour: str

    def area(self):
        return self.side

    def twice(self):
        return self.side

    @staticmethod
    def unit():
        return "foot"


def test_a_finder_sees_what_it_looks_for():
    shapes = [AbstractShape, Square, AbstractOdd, Tile]
    assert extended_classes(shapes) == {"Square"}
    assert overridden_methods(shapes) == {
        "AbstractOdd.corners",
        "Tile.area",
        "Tile.twice",
        "Tile.unit",
    }


def test_the_classes_of_the_library_are_found():
    methods = {cls.__name__: written_methods(cls) for cls in library_classes()}
    assert len(methods) > 150
    assert {"vector_field", "readout"} <= methods["AbstractSystem"] & methods["Feedforward"]
    assert {"__init__", "init", "__call__"} <= methods["LeastControl"]
    assert {"of", "safe"} <= methods["Counted"]
    assert "loss" in methods["AbstractRuleAround"]
    assert {"MAML", "TrustRegion", "CrossEntropy", "EnergyGap"} <= set(methods)


def test_a_class_is_abstract_or_final():
    assert extended_classes(library_classes()) - set(EXCEPTIONS) == set()


def test_a_concrete_method_is_not_overridden():
    assert overridden_methods(library_classes()) - set(EXCEPTIONS) == set()


def test_every_exception_is_needed_and_says_why():
    classes = library_classes()
    assert set(EXCEPTIONS) <= extended_classes(classes) | overridden_methods(classes)
    assert all(reason.endswith(".") for reason in EXCEPTIONS.values())
