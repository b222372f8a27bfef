"""Errors that a person can act on: each message names the thing at fault and the remedy."""

from __future__ import annotations


class SystwiseError(Exception):
    """Base of all errors raised on purpose; the command line prints it as one sentence."""


class ConfigError(SystwiseError):
    """A setting, name or option is unknown or out of range; the message holds its path."""


class DataError(SystwiseError):
    """Input events are unusable; the message names file, column or process."""


class TemplateError(SystwiseError):
    """Templates cannot carry a likelihood; the message names process, bin and nuisance."""


class FitError(SystwiseError):
    """A fit was asked for that cannot be done; the message names the parameter or bin."""
