"""Scripts that complete `quanos` in a shell: its commands, their options, the values these take."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

Choices = tuple[str, ...]


@dataclass(frozen=True)
class Completed:
    """A command: what it does, and its options with the values they can have (none: anything)."""

    text: str
    options: Mapping[str, Choices]


BASH = """\
_quanos() {{
  local word="${{COMP_WORDS[COMP_CWORD]}}" before="${{COMP_WORDS[COMP_CWORD-1]}}" found=""
  if (( COMP_CWORD == 1 )); then
    found="{commands} --help --version"
  else
    case "${{COMP_WORDS[1]}} $before" in
{values}
    esac
    if [[ -z $found && $word == -* ]]; then
      case "${{COMP_WORDS[1]}}" in
{options}
      esac
    fi
  fi
  COMPREPLY=($(compgen -W "$found" -- "$word"))
}}
complete -o default -F _quanos quanos
"""

ZSH = "autoload -U +X compinit && compinit\nautoload -U +X bashcompinit && bashcompinit\n"


def bash(commands: Mapping[str, Completed]) -> str:
    """For bash; where nothing of ours fits, files are offered."""
    values = [
        f'      "{name} {option}") found="{" ".join(choices)}" ;;'
        for name, command in commands.items()
        for option, choices in command.options.items()
        if choices
    ]
    options = [
        f'        {name}) found="{" ".join(command.options)}" ;;'
        for name, command in commands.items()
    ]
    return BASH.format(
        commands=" ".join(commands), values="\n".join(values), options="\n".join(options)
    )


def zsh(commands: Mapping[str, Completed]) -> str:
    """For zsh, which runs bash's."""
    return ZSH + bash(commands)


def fish(commands: Mapping[str, Completed]) -> str:
    """For fish."""
    lines = []
    for name, command in commands.items():
        about = command.text.replace("'", "\\'")
        lines.append(f"complete -c quanos -n __fish_use_subcommand -f -a {name} -d '{about}'")
        seen = f"complete -c quanos -n '__fish_seen_subcommand_from {name}'"
        for option, choices in command.options.items():
            takes = f" -x -a '{' '.join(choices)}'" if choices else ""
            lines.append(f"{seen} -l {option.removeprefix('--')}{takes}")
    return "\n".join(lines) + "\n"


SHELLS = {"bash": bash, "zsh": zsh, "fish": fish}
