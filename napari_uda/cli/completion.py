"""`napari-uda --completion bash|zsh`: a script by which Tab completes commands, methods, recipes and options.

The script holds all words, so that the shell need not start Python at every Tab. tyro writes such scripts, too
(`--tyro-print-completion`), but each for one program: that of `napari-uda predict` is for a program of that
name, with the space in it, which no shell ever looks up.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Literal, get_args, get_origin, get_type_hints

from napari_uda.core.errors import InputError

SHELLS = ("bash", "zsh")
_COMMON = ("--help", "--json", "--quiet", "--verbose")

_FUNCTION = """_napari_uda() {{
    local current="${{COMP_WORDS[COMP_CWORD]}}" before="${{COMP_WORDS[COMP_CWORD-1]}}" words=""
    COMPREPLY=()
    case "$before" in
{values}
    esac
    if [ -z "$words" ]; then
        if [ "$COMP_CWORD" -eq 1 ]; then
            words={commands}
        elif [ "${{COMP_WORDS[1]}}" = train ] && [ "$COMP_CWORD" -eq 2 ]; then
            words={after_train}
        elif [ "${{COMP_WORDS[1]}}" = train ]; then
            case "${{COMP_WORDS[2]//-/_}}" in
{methods}
            *) words={train} ;;
            esac
        else
            case "${{COMP_WORDS[1]}}" in
{options}
            esac
        fi
        case "$current" in  # files where no option is begun
        -*) ;;
        *) [ "$COMP_CWORD" -le 2 ] || words="" ;;
        esac
    fi
    COMPREPLY=($(compgen -W "$words" -- "$current"))
}}
complete -o default -F _napari_uda napari-uda
"""
_ZSH = """#compdef napari-uda
autoload -Uz bashcompinit && bashcompinit
{script}# zsh loads this file at the first Tab, which wants its answer, too
[[ -z "$compstate" ]] || _bash_complete -o default -F _napari_uda
"""


def completion_script(given: Sequence[str]) -> str:
    """The script for a shell.

    Args:
        given: the name of the shell.

    Raises:
        InputError: for another shell, or none.
    """
    if list(given) not in ([shell] for shell in SHELLS):
        raise InputError(f"--completion needs the name of a shell; give {' or '.join(SHELLS)}")
    from napari_uda.cli.commands import COMMANDS
    from napari_uda.cli.train_help import OWN_OPTIONS, RESUME_OPTIONS
    from napari_uda.cli.usage import option_names
    from napari_uda.core.setting_paths import leaves
    from napari_uda.evaluation.protocols import PROTOCOLS
    from napari_uda.methods.registry import METHODS, source_free_methods
    from napari_uda.run.config import RunConfig
    from napari_uda.run.recipes import build_config, list_recipes
    from napari_uda.training.adapt_config import AdaptConfig

    own = [option.partition(" ")[0] for option in OWN_OPTIONS]
    of_method = {
        name: [*own, "--help-all", *option_names(RunConfig, build_config(name))] for name in METHODS
    }
    values: dict[str, list[str]] = {}
    for command in COMMANDS.values():
        for option, hint in get_type_hints(command).items():
            values.setdefault(f"--{option.replace('_', '-')}", []).extend(_choices(hint))
    for name in METHODS:
        for path, field, _ in leaves(build_config(name)):
            choices = _choices(field.annotation)
            values.setdefault(f"--{path.replace('_', '-')}", []).extend(choices)
    values |= {"--protocol": list(PROTOCOLS), "--method": source_free_methods()}
    options = {name: option_names(command) for name, command in COMMANDS.items()}
    options["adapt"] += ["--out", "--method", *option_names(AdaptConfig, AdaptConfig())]
    script = _FUNCTION.format(
        values=_cases({**values, "--recipe": list(list_recipes()), "--completion": SHELLS}, 4),
        commands=_words(["train", *COMMANDS, "--help", "--version", "--completion"]),
        after_train=_words([*METHODS, "--recipe", "--resume", "--help"]),
        methods=_cases({name: [*words, *_COMMON] for name, words in of_method.items()}, 12),
        train=_words([*own, *RESUME_OPTIONS, *_COMMON]),
        options=_cases({name: [*words, *_COMMON] for name, words in options.items()}, 12),
    )
    if given[0] == "zsh":
        return _ZSH.format(script=script)
    return script


def _cases(words_of: Mapping[str, Sequence[str]], indent: int) -> str:
    margin = " " * indent
    return "\n".join(
        f"{margin}{shlex.quote(name)}) words={_words(words)} ;;"
        for name, words in words_of.items()
        if words
    )


def _choices(hint: object) -> list[str]:
    """The values of a `Literal`; nothing for another type."""
    return list(map(str, get_args(hint))) if get_origin(hint) is Literal else []


def _words(words: Sequence[str]) -> str:
    return shlex.quote(" ".join(dict.fromkeys(words)))
