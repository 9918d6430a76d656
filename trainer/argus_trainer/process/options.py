"""The options of `argus train` for the fields of a spec: errors are said in the words typed.

What is below the command line names fields, as a trainingjob.yaml has them. Only whole field
names are replaced: a folder may be called anything.
"""

import re

from pydantic import ValidationError

from argus_contract.model import Model
from argus_contract.spec import ModelSpec, TrainingSpec
from argus_trainer.wording import rule_of

_HOW_TO_WRITE = {
    "dropout": "write a decimal number like 0.2",
    "learning_rate": "write a decimal number like 0.01",
    "targets": "name a column: letters, digits and _, at most 16 different ones",
}
"""For fields whose rule is a pattern, which says nothing to a person."""


def _option(field: str) -> str:
    return "--target" if field == "targets" else f"--{field.replace('_', '-')}"


def _options_of(kind: type[Model]) -> dict[str, str]:
    return {str(info.alias): _option(name) for name, info in kind.model_fields.items()}


_MODEL, _TRAINING = _options_of(ModelSpec), _options_of(TrainingSpec)
_OPTIONS = (
    {f"model.{field}": option for field, option in _MODEL.items()}
    | {f"training.{field}": option for field, option in _TRAINING.items()}
    | {
        "data.uri": "--dataset",
        "resourcesPerNode": "--gpus",
        "change spec.runToken": "use --fresh",
        "another runToken": "--fresh",
    }
)


def _pattern(words: dict[str, str]) -> re.Pattern[str]:
    return re.compile(rf"(?<![\w./-])(?:{'|'.join(map(re.escape, words))})(?![\w/-])")


_IN_TEXT = _pattern(_OPTIONS)
_IN_RULE = _pattern(_MODEL | _TRAINING)


def in_options(text: str) -> str:
    """Returns `text` with `--encoder-length` for `model.encoderLength`, and so on."""
    return _IN_TEXT.sub(lambda match: _OPTIONS[match[0]], text)


def refusal_of(error: ValidationError) -> str:
    """Returns in one line what is wrong with options of `argus train`, one sentence for each."""
    sentence_of: dict[object, str] = {}
    for problem in error.errors(include_url=False, include_context=False):
        rule = rule_of(problem)
        if problem["type"] == "value_error":
            # A rule about several fields: it names them and their values itself.
            rule = _IN_RULE.sub(lambda match: (_MODEL | _TRAINING)[match[0]], rule)
            sentence_of.setdefault(rule, rule)
            continue
        field = str(problem["loc"][0])
        value = problem["input"]
        said = f"{len(value)} times" if isinstance(value, list) else value
        rule = _HOW_TO_WRITE.get(field, rule)
        sentence_of.setdefault(field, f"{_option(field)} {said}: {rule}")
    return "; ".join(sentence_of.values())
