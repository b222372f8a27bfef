"""Reading YAML so that nothing written in it is lost: keys are words, and each is written once."""

from __future__ import annotations

from typing import Any

import yaml
from yaml.constructor import ConstructorError

from systwise.errors import ConfigError


class _Loader(yaml.SafeLoader):
    """Safe YAML in which a key that occurs twice is an error, and `true:` or `yes:` as a key is that word."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        lines: dict[str, int] = {}
        for key_node, _ in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                raise ConstructorError(None, None, "a key is a word", key_node.start_mark)
            key, line = key_node.value, key_node.start_mark.line + 1
            if key in lines and key != "<<":
                raise ConstructorError(
                    None, None, f"key '{key}' is written twice, in line {lines[key]} and in line {line}", None
                )
            lines[key] = line
        self.flatten_mapping(node)  # `<<` brings keys that the mapping's own ones replace
        return {key.value: self.construct_object(value, deep=True) for key, value in node.value}


def _mapping(loader: _Loader, node: Any) -> dict[Any, Any]:
    return loader.construct_mapping(node, deep=True)


_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


def parse_yaml(text: str, path: str) -> Any:
    """Return the content of a YAML document.

    Args:
        text: the document.
        path: of the file, for messages.

    Raises:
        ConfigError: no YAML, or a key that occurs twice (the message names both lines).
    """
    try:
        return yaml.load(text, _Loader)
    except ConstructorError as error:
        if error.problem and error.problem_mark is None:
            raise ConfigError(f"{path}: {error.problem}; write it once") from None
        line = f" (line {error.problem_mark.line + 1})" if error.problem_mark else ""
        raise ConfigError(f"{path}: is not valid YAML{line}: {error.problem}") from None
    except yaml.YAMLError as error:
        where = getattr(error, "problem_mark", None)
        line = f" (line {where.line + 1})" if where else ""
        raise ConfigError(f"{path}: is not valid YAML{line}; mend it there") from None
