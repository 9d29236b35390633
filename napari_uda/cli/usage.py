"""Options from the command line by tyro; what does not fit becomes one sentence.

tyro prints an error as a box for readers and exits. Its only way to have the error as data is the hook
`tyro._errors.on_parse_error`: documented at length in its module, but private, and there since 1.0.14 at
the latest. It is used here and nowhere else, and only with what its documentation shows. A tyro without it
shows its own box instead of our sentence, with the same exit code; the tests fail then.
"""

from __future__ import annotations

import functools
import inspect
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, get_type_hints

import tyro
from pydantic import ValidationError

from napari_uda.cli.output import COMMON_NAMES
from napari_uda.core.config import Config, plain_problem
from napari_uda.core.errors import InputError
from napari_uda.core.setting_paths import by_path
from napari_uda.core.suggestions import listed, near, near_option

_PAIRS = "[STR FLOAT [STR FLOAT ...]]"
_FORMS = {
    "INT": "a whole number",
    "FLOAT": "a number",
    _PAIRS: "names and numbers in turn, NAME NUMBER ...",
}


def parse_call(
    command: Callable[..., None],
    given: list[str],
    program: str,
    *,
    more_options: Sequence[str] = (),
) -> Callable[[], None]:
    """A command with its options, ready to be called; the arguments are those of `parse`.

    tyro would call it while it parses, and take errors of the work for errors of the options.

    Raises:
        InputError: for options that do not fit.
    """

    @functools.wraps(command)
    def bind(*arguments: Any, **options: Any) -> Callable[[], None]:
        return functools.partial(command, *arguments, **options)

    call: Callable[[], None] = parse(bind, given, program, more_options=more_options)
    return call


def option_names(kind: Callable[..., Any], default: object = None) -> list[str]:
    """The options that a function or a class of settings has on the command line, as they are written.

    Args:
        kind: as for `parse`.
        default: settings whose values are the defaults; says what a union of settings holds.
    """
    return _options_of(_defaults(kind, default))


def _defaults(kind: Callable[..., Any], default: object) -> dict[str, Any]:
    """The options by path, without dashes, and their defaults."""
    if isinstance(default, Config):
        return by_path(default)
    hints = get_type_hints(inspect.unwrap(kind), include_extras=True)
    paths: dict[str, Any] = {}
    for name, parameter in inspect.signature(kind).parameters.items():
        if isinstance(parameter.default, Config):  # its options have no prefix
            paths |= by_path(parameter.default)
        elif tyro.conf.Positional not in getattr(hints.get(name), "__metadata__", ()):
            paths[name] = parameter.default
    return paths


def _options_of(paths: Mapping[str, Any]) -> list[str]:
    names = []
    for path, value in paths.items():
        dashed = path.replace("_", "-")
        names.append(f"--{dashed}")
        if isinstance(value, bool):
            group, dot, name = dashed.rpartition(".")
            names.append(f"--{group}{dot}no-{name}")
    return names


def parse(
    kind: Callable[..., Any],
    given: list[str],
    program: str,
    *,
    more_options: Sequence[str] = (),
    **settings: Any,
) -> Any:
    """Options as values.

    Args:
        kind: function or class whose parameters are the options.
        given: words of the command line.
        program: how the command is called, for the sentence and for `--help`.
        more_options: options of the program that were taken out of the words before.
        settings: more for `tyro.cli`.

    Raises:
        InputError: for an unknown option, a missing one, or a value out of range.
    """

    def known() -> list[str]:
        return [*option_names(kind, settings.get("default")), *more_options, *COMMON_NAMES]

    def greedy() -> str:
        defaults = _defaults(kind, settings.get("default")).items()
        several = _options_of(
            {path: value for path, value in defaults if isinstance(value, (tuple, dict))}
        )
        return next((word for word in given if word.replace("_", "-") in several), "")

    words = ["--help" if word.replace("_", "-") == "--help-all" else word for word in given]
    with _as_input_errors(program, known, greedy):
        try:
            return tyro.cli(kind, args=words, prog=program, **settings)
        except (
            ValidationError
        ) as error:  # tyro hands on what settings among a command's options refuse
            raise InputError(f"{plain_problem(error)}; see {program} --help") from error


def _as_input_errors(
    program: str, known: Callable[[], list[str]], greedy: Callable[[], str]
) -> AbstractContextManager[None]:
    try:
        from tyro._errors import on_parse_error
    except ImportError:
        return nullcontext()

    def refuse(event: object) -> None:
        sentence = _sentence(event, known, greedy)
        if sentence.endswith("?"):
            raise InputError(f"{sentence} (see {program} --help)") from None
        if sentence:
            raise InputError(f"{sentence}; see {program} --help") from None

    return on_parse_error(refuse)


def _sentence(event: Any, known: Callable[[], list[str]], greedy: Callable[[], str]) -> str:
    """What is wrong, without the remedy that every sentence ends with; "" leaves it to tyro's own box."""
    match type(event).__name__:
        case "MissingArgs":
            misspelt = _did_you_mean(event.unrecognized_tokens, known())
            missing = [each.arg for each in event.missing_arguments]
            option = greedy() if any(each.is_positional() for each in missing) else ""
            before = f" before {option}, which takes all words that follow it" if option else ""
            return misspelt or f"{', '.join(map(_usage, missing))} must be given{before}"
        case "UnrecognizedArgs":
            return _did_you_mean(event.tokens, known()) or _unknown(event.tokens)
        case "BadValue" if event.reason == "too_few_values":
            return _without_value(event.argument)
        case "InvalidChoice":
            choices = ", ".join(event.choices)
            alike = near(event.value, event.choices)
            meant = f"did you mean {listed(alike)}? (one of {choices})" if alike else ""
            cannot = f"{_name(event.argument)} cannot be {event.value!r}"
            return f"{cannot}; {meant or f'choose one of {choices}'}"
        case "InstantiationFailure":
            return _unusable(event)
    return ""


def _without_value(argument: Any) -> str:
    if argument.is_positional():
        return f"{_name(argument)} must be given"
    return f"{_name(argument)} needs a value"


def _did_you_mean(tokens: list[str], known: Sequence[str]) -> str:
    """About the first unknown option that looks like known ones; "" if none does."""
    for token in tokens:
        option = token.partition("=")[0]
        alike = near_option(option, known) if option.startswith("-") else []
        if alike:
            return f"there is no option {option}; did you mean {listed(alike)}?"
    return ""


def _unknown(tokens: list[str]) -> str:
    options = [token.partition("=")[0] for token in tokens if token.startswith("-")]
    if not options:
        return f"there is no place for {shlex.join(tokens)} in this command"
    return f"there is no option {' and no option '.join(options)}"


def _unusable(event: Any) -> str:
    """A text that is no number, or a value that the settings refuse."""
    refused = _among_causes(ValidationError)
    if refused is not None:
        section = getattr(sys.exception(), "arg", "")  # the part of the settings that was built
        at = f"{section}." if isinstance(section, str) and section else ""
        at = at.removeprefix("config.")  # the options of a command's `config` have no prefix
        return f"{at}{plain_problem(refused)}"
    if event.argument is None:
        return str(event.message).rstrip(".")
    form = str(event.argument.lowered.metavar)
    message = str(event.message).rstrip(".")
    if form in ("INT", "FLOAT"):  # Python's words end with what was given
        return f"{_name(event.argument)} must be {_FORMS[form]}, not {message.rpartition(': ')[2]}"
    if form == _PAIRS:
        return f"{_name(event.argument)} must be {_FORMS[form]}; put all other words before it"
    return f"{_name(event.argument)} must be {_FORMS.get(form, form)} ({message})"


def _among_causes(kind: type[ValidationError]) -> ValidationError | None:
    """The error of this kind that the one being handled was made from."""
    error = sys.exception()
    while error is not None and not isinstance(error, kind):
        error = error.__cause__ or error.__context__
    return error


def _usage(argument: Any) -> str:
    """An argument as the usage line shows it: `RUN` or `--out PATH`."""
    form = str(argument.lowered.metavar)
    return form if argument.is_positional() else f"{argument.display_name()} {form}"


def _name(argument: Any) -> str:
    """What to call an argument: `RUN` or `--out`."""
    return str(argument.lowered.metavar if argument.is_positional() else argument.display_name())
