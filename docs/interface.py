"""The pages of the interface: one for each room, and for a large room one for each topic.

`TOPICS` says which modules of a room make a topic, `ROOMS` the order of the rooms and their titles.
What a room exports is read from its source by griffe, as mkdocstrings does. A room's page shows its
docstring, and every public name with the first sentence about it. MkDocs calls the hooks.
"""

import functools
import re
from pathlib import Path

import griffe
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from signatures import public_path

FOLDER = "api"
# Titles of topics, and the private modules whose names belong there.
TOPICS = {
    "systems": {
        "Feedforward networks": "_feedforward _residual _convolutional",
        "Recurrent networks": "_recurrent",
        "Deep equilibrium models": "_deep_equilibrium _implicit_representation",
        "Your own f": "_function",
        "Fast weights": "_fast_weights _learners",
        "Initialisation": "_initialisation",
        "Abstract systems": "_system _inner_kinks _difference",
    },
    "equilibrium": {
        "Solutions and certificates": "_certificate",
        "Free equilibria": "_free_equilibrium _free _free_gain _spectrum",
        "Controlled equilibria": "_problem _joint _sweep _energy _control_path",
        "Controlled equilibria on kinks": "_kinked_joint _kinked_sweep _softened",
        "Solvers": "_driver _anderson _trust_region _merit _landscape _linear _trees",
        "Simulated dynamics": "_simulation _noise _noise_run",
    },
    "controllers": {
        "Controllers": "_controllers _continuous_time _controller",
        "Learned feedback": "_kolen_pollack _linear_feedback _feedback_weights",
        "Output control and strength": "_output_control",
        "Direct feedback and teachings": "_direct_feedback _teaching",
        "Equilibria under feedback": "_feedback_equilibrium",
    },
    "rules": {
        "Least control": "_least_control _predictive_coding _quick",
        "Settle": "_settle",
        "Backpropagation and its family": "_backpropagation _through_time _jacobian_free",
        "Feedback alignment": "_feedback_alignment",
        "Equilibrium propagation": "_equilibrium_propagation",
        "Gradient certificates": "_gradient_certificate _gradient_noise",
        "Rules around rules": "_jacobian_penalty _batch_statistics _parts",
        "Unsolved samples": "_policy",
        "Abstract rules": "_rule",
    },
    "devices": {
        "Devices and the protocol": "_device _serving _process",
        "Simulated devices": "_simulated _spice",
        "Learning in the loop": "_learning _trained _metrics",
        "Rules": "_rule _control_rules _physics_aware _perturbation_rules _updates",
        "Feedback and responses": "_feedback _responses",
        "Output control": "_output_control",
        "Twins and inspection": "_twins _inspection",
        "Certificates": "_certificate",
    },
    "diagnostics": {
        "Feedback and margins": "_feedback _column_space _margins",
        "Directions and gaps": "_directions _gap _trust",
        "Trajectories": "_trajectory",
    },
    "feedback_control": {
        "The rule and its phases": "_rule _phase _simulated _steady _quasi_static _task",
        "Feedback and its learning": "_learning _difference _direct_feedback _teaching",
        "Noise and dynamics": "_noise _simulation",
    },
    "meta": {
        "Rules": "_rule _least_control _maml _first_order_maml _implicit_maml _reptile _t1t2 "
        "_contrastive",
        "Adaptation and control": "_adaptation _control _minimised_control",
        "Learners": "_fast_weights _learners",
    },
    "data": {
        "Load a data set": "_registry _dataset",
        "Data sets": "_digits _mnist _fashion_mnist _idx_source _cifar _omniglot _regression "
        "_characters _pictures",
        "Tasks": "_tasks",
        "Sources and files": "_source _download _idx _glyphs",
    },
    "training": {
        "Train": "_loop _config _trained _optimisers _strength _tolerance _augmentation",
        "Evaluate": "_evaluation _calibration",
        "Meta-training": "_meta _meta_evaluation",
        "Several devices and processes": "_processes _placement _program",
        "Folders and tracking": "_folder _checkpoints _sealed _tracking",
    },
}
# In the order in which they build on each other.
ROOMS = {
    "files": "Files",
    "systems": "Systems",
    "losses": "Losses",
    "equilibrium": "Equilibrium",
    "controllers": "Controllers",
    "rules": "Rules",
    "devices": "Devices",
    "diagnostics": "Diagnostics",
    "feedback_control": "Deep feedback control",
    "meta": "Meta-learning",
    "data": "Data",
    "training": "Training",
    "runs": "Runs",
    "monitor": "Monitor",
    "papers": "Papers",
    "verify": "Verify",
    "bench": "Bench",
    "report": "Report",
    "cli": "Command line",
}
# Rooms that offer modules and no names.
MODULES = ("bench", "monitor", "papers", "runs", "verify")


@functools.cache
def package() -> griffe.Module:
    """Reads the package as mkdocstrings sees it, without importing it."""
    loaded = griffe.load(
        "leastcontrol",
        search_paths=[Path(__file__).resolve().parents[1]],
        resolve_aliases=True,
        extensions=griffe.load_extensions("griffe_public_redundant_aliases"),
    )
    assert isinstance(loaded, griffe.Module)
    return loaded


def public_names(room: str) -> dict[str, str]:
    """Returns the documented names of a room, with the module that each is defined in."""
    return {
        name: member.canonical_path.rpartition(".")[0].rpartition(".")[2]
        for name, member in package()[room].members.items()
        if member.is_public and not member.is_module and member.has_docstring
    }


def topics(room: str) -> dict[str, list[str]]:
    """Returns the names of each topic of a room.

    **Raises:** `ValueError` for a name whose module belongs to no topic.
    """
    of_module = {
        module: title for title, modules in TOPICS[room].items() for module in modules.split()
    }
    by_topic: dict[str, list[str]] = {title: [] for title in TOPICS[room]}
    for name, module in public_names(room).items():
        if module not in of_module:
            raise ValueError(
                f"leastcontrol.{room}.{name} is defined in {module}, which belongs to no topic of "
                f"the interface: name {module} in TOPICS of {__file__}."
            )
        by_topic[of_module[module]].append(name)
    return by_topic


def slug(title: str) -> str:
    """Returns the file name of a topic."""
    return title.lower().replace(" ", "-")


def pages() -> dict[str, str]:
    """Returns the text of every page by its path."""
    written = {}
    for room, title in ROOMS.items():
        if room in TOPICS:
            written[f"{FOLDER}/{room}/index.md"] = _room_page(room, title)
            for topic, names in topics(room).items():
                written[f"{FOLDER}/{room}/{slug(topic)}.md"] = _topic_page(room, topic, names)
        else:
            written[f"{FOLDER}/{room}/index.md"] = _whole_page(room, title)
    return written


def _room_page(room: str, title: str) -> str:
    lines = [
        f"# {title}",
        "",
        f"::: leastcontrol.{room}",
        *_options("members: false", "show_root_heading: false"),
        "",
    ]
    for topic, names in topics(room).items():
        lines += [f"## [{topic}]({slug(topic)}.md)", "", "| name | what it is |", "|---|---|"]
        for name in names:
            docstring = package()[room].members[name].docstring
            lines.append(f"| [`{name}`][leastcontrol.{room}.{name}] | {_summary(docstring)} |")
        lines.append("")
    return "\n".join(lines)


def _topic_page(room: str, topic: str, names: list[str]) -> str:
    lines = [f"# {topic}", ""]
    for name in names:
        lines += [f"::: leastcontrol.{room}.{name}", *_options("heading_level: 2"), ""]
    return "\n".join(lines)


def _whole_page(room: str, title: str) -> str:
    # These modules import much; only what is their own is shown.
    options = ("filters: public", "show_submodules: true") if room in MODULES else ()
    return "\n".join([f"# {title}", "", f"::: leastcontrol.{room}", *_options(*options), ""])


def _options(*lines: str) -> list[str]:
    return ["    options:", *(f"      {line}" for line in lines)] if lines else []


def _summary(docstring: griffe.Docstring | None) -> str:
    text = docstring.value if docstring is not None else ""
    first = " ".join(text.partition("\n\n")[0].split())
    return first.replace("|", "\\|")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Adds the pages to the navigation, below the entry `Interface`."""
    interface = next(entry["Interface"] for entry in config.nav or () if "Interface" in entry)
    for room, title in ROOMS.items():
        index = f"{FOLDER}/{room}/index.md"
        below = [{topic: f"{FOLDER}/{room}/{slug(topic)}.md"} for topic in TOPICS.get(room, ())]
        interface.append({title: [index, *below] if below else index})
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the pages as files that exist in no folder."""
    for path, content in pages().items():
        files.append(File.generated(config, path, content=content))
    return files


def on_post_page(output: str, **kwargs: object) -> str:
    """Names in the tooltips of links the room that exports a name, and not the module inside."""
    del kwargs
    return re.sub(r'title="[^"]*"', lambda match: public_path(match[0]), output)
