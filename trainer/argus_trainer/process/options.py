"""The options of `argus train` for the fields of a spec: errors are said in the words typed.

What is below the command line names fields, as a trainingjob.yaml has them. Only whole field
names are replaced: a folder may be called anything.
"""

import re

from pydantic import ValidationError
from pydantic.alias_generators import to_camel

from argus_contract.model import Model
from argus_contract.spec import ModelSpec, TrainingSpec
from argus_trainer.wording import rule_of

_HOW_TO_WRITE = {
    "--dropout": "write a decimal number like 0.2",
    "--factor": "write NAME=NUMBER with a decimal number, like mem_used_pct=100",
    "--learning-rate": "write a decimal number like 0.01",
    "--map": "write OWN=NAME with a name of letters, digits and _, at most 64 of them",
    "--memory-budget": "write a size like 4Gi",
    "--target": "name a column: letters, digits and _, at most 16 different ones",
    "--time-zone": "write a name like Europe/Berlin",
}
"""For fields whose rule is a pattern, which says nothing to a person."""


def _options_of(kind: type[Model], **others: str) -> dict[str, str]:
    """Returns the option of each field by its name on the wire, `--name` but for `others`."""
    return {
        str(info.alias): others.get(name, f"--{name.replace('_', '-')}")
        for name, info in kind.model_fields.items()
    }


_MODEL = _options_of(ModelSpec, targets="--target")
_TRAINING = _options_of(TrainingSpec, mode="--streaming")
_DATA = {
    "window.start": "--start",
    "window.end": "--end",
    "window.lookbackSeconds": "--lookback-days",
    "split.validationPercent": "--validation-percent",
    "split.holdoutPercent": "--holdout-percent",
    "cadenceSeconds": "--cadence",
    "columns": "--map",
    "columns.from": "--map",
    "columns.factor": "--factor",
    "columns.aggregate": "--aggregate",
    "servers": "--servers",
    "servers.include": "--servers",
    "servers.exclude": "--exclude-servers",
    "timeZone": "--time-zone",
    "gaps.maxGapSteps": "--max-gap-steps",
    "gaps.minObservedPercent": "--min-observed-percent",
    "onChange": "--on-change",
}
_FIELDS = _MODEL | _TRAINING | _DATA
_IN_TEXT = (
    {f"model.{field}": option for field, option in _MODEL.items()}
    | {f"training.{field}": option for field, option in _TRAINING.items()}
    | {f"data.{field}": option for field, option in _DATA.items()}
    | {
        "data.uri": "--dataset",
        "data.window": "--start, --end and --lookback-days",
        "resourcesPerNode": "--gpus",
        "checkpoint.resumePolicy": "--resume-policy",
        "storage.singleWriter true": "--single-writer",
        "another runToken": "--fresh",
    }
)
# Rules name fields of their own part of the spec by the last word alone.
_IN_RULE = {
    field: option for field, option in _FIELDS.items() if field not in ("mode", "servers")
} | {
    "holdoutPercent": "--holdout-percent",
    "factor": "--factor",
    "aggregate": "--aggregate",
}


def _replaced(text: str, words: dict[str, str]) -> str:
    longest_first = sorted(words, key=len, reverse=True)
    pattern = rf"(?<![\w./-])(?:{'|'.join(map(re.escape, longest_first))})(?![\w/-])"
    return re.sub(pattern, lambda match: words[match[0]], text)


def in_options(text: str) -> str:
    """Returns `text` with `--encoder-length` for `model.encoderLength`, and so on."""
    return _replaced(text, _IN_TEXT)


def refusal_of(error: ValidationError) -> str:
    """Returns in one line what is wrong with options of `argus train`, one sentence for each."""
    sentence_of: dict[str, str] = {}
    for problem in error.errors(include_url=False, include_context=False):
        rule = rule_of(problem)
        if problem["type"] == "value_error":
            # A rule about several fields: it names them and their values itself.
            rule = _replaced(rule, _IN_RULE)
            sentence_of.setdefault(rule, rule)
            continue
        option = _option_at(problem["loc"])
        value = problem["input"]
        said = f"{len(value)} times" if isinstance(value, list) else value
        rule = _HOW_TO_WRITE.get(option, rule)
        sentence_of.setdefault(option, f"{option} {said}: {rule}")
    return "; ".join(sentence_of.values())


def _option_at(place: tuple[int | str, ...]) -> str:
    """Returns the option of the field at `place`, or of the nearest one around it."""
    parts = [to_camel(part) for part in place if isinstance(part, str)]
    around = (".".join(parts[:length]) for length in range(len(parts), 0, -1))
    return next(_FIELDS[field] for field in around if field in _FIELDS)
